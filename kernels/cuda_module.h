// Loads libtrainyard_cuda.so, and says which GPUs can be used or, in one line, why none can.
// Nothing of NVIDIA's is needed to build or start a program that asks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trainyard::kernels {

struct CudaDevice {
  std::string name;  // "NVIDIA H100 80GB HBM3"
  std::string uuid;  // "GPU-...", as nvidia-smi prints it
  int64_t memory_bytes = 0;
  int compute_major = 0, compute_minor = 0;
};

struct CudaProbe {
  std::vector<CudaDevice> devices;
  std::string versions;  // "CUDA 13.0, cuBLASLt 13.1.0, cuDNN 9.19.0"; empty without the module
  std::string problem;   // one line; empty if and only if there are devices
};

// Where the module may be, best first: beside the program, in ../lib/trainyard, in
// /usr/lib/trainyard.
std::vector<std::string> CudaModulePaths();

// Loads the first of `paths` that is there, and asks it. The library stays loaded.
CudaProbe ProbeCuda(const std::vector<std::string>& paths = CudaModulePaths());

}  // namespace trainyard::kernels
