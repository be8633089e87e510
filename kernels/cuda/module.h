// What the worker and libtrainyard_cuda.so agree on. The library is loaded at run time, so that one
// worker program starts on any machine, with or without NVIDIA's libraries. Plain types only: the
// two may come from different builds, which is what the version is for.
#pragma once

#include <cstdint>

namespace trainyard::kernels::cuda {

// Raised with every change of this file.
constexpr int32_t kModuleVersion = 1;
constexpr char kModuleFile[] = "libtrainyard_cuda.so";
constexpr char kModuleEntry[] = "trainyard_cuda_module";
constexpr int kDevicesMax = 16;

struct ModuleDevice {
  char name[256];
  char uuid[48];  // "GPU-...", as nvidia-smi prints it
  int64_t memory_bytes;
  int32_t compute_major, compute_minor;
};

struct ModuleReport {
  // As NVIDIA counts: 13000 is CUDA 13.0.
  int32_t driver_version;  // the newest CUDA that the driver can do; 0: no driver
  int32_t runtime_version;
  int64_t cublaslt_version, cudnn_version;
  int32_t device_count;  // only those that can compute
  ModuleDevice devices[kDevicesMax];
  char problem[512];  // why there is no device, one line; else empty
};

struct Module {
  int32_t version;  // kModuleVersion of its build; only if it is ours may the rest be looked at
  // `report` comes in as zeros.
  void (*probe)(ModuleReport* report);
};

// The library's one symbol.
using ModuleEntry = const Module* (*)();

}  // namespace trainyard::kernels::cuda
