// Loads libtrainyard_cuda.so, says which GPUs can be used or, in one line, why none can, and makes
// the backend that computes on one. Nothing of NVIDIA's is needed to build or start a program that
// asks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace trainyard::kernels {

struct CudaDevice {
  std::string name;  // "NVIDIA H100 80GB HBM3"
  std::string uuid;  // "GPU-...", as nvidia-smi prints it, or the name of a part of one: "MIG-..."
  int64_t memory_bytes = 0;
  int compute_major = 0, compute_minor = 0;
};

struct CudaProbe {
  std::vector<CudaDevice> devices;  // those that can compute
  std::string versions;  // "CUDA 13.0, cuBLASLt 13.1.0, cuDNN 9.19.0"; empty without the module
  std::string problem;   // one line; empty if and only if there are devices
  // The driver's version: "580.65.06"; where that is not to be had the newest CUDA that it can do:
  // "CUDA 13.0"; empty without a driver.
  std::string driver = {};
  int visible_count = 0;  // of GPUs, too old ones among them
};

// Of a whole GPU, whoever uses it.
struct CudaUse {
  int64_t memory_used_bytes = -1;  // -1: not known
  int busy_percent = -1;  // share of the last second or less in which a kernel ran; -1: not known
};

// Where the module may be, best first: beside the program, in ../lib/trainyard, in
// /usr/lib/trainyard.
std::vector<std::string> CudaModulePaths();

// Each loads the first of `paths` that is there, which stays loaded, and asks it.

CudaProbe ProbeCuda(const std::vector<std::string>& paths = CudaModulePaths());

// Of the GPU with this UUID. From any thread; takes some milliseconds.
CudaUse UseOfCuda(const std::string& uuid,
                  const std::vector<std::string>& paths = CudaModulePaths());

// On options.gpu. Throws Error with the line that ProbeCuda would give, and DeviceLost for a GPU
// that is named and not there. Programs of it are used by one thread at a time, by whichever.
std::unique_ptr<Backend> LoadCudaBackend(const BackendOptions& options,
                                         const std::vector<std::string>& paths = CudaModulePaths());

}  // namespace trainyard::kernels
