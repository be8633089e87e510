// What the worker and libtrainyard_cuda.so agree on. The library is loaded at run time, so that one
// worker program starts on any machine, with or without NVIDIA's libraries. The two may come from
// different builds: version and build are compared before anything else is looked at, so that C++
// objects and exceptions may cross.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/backend.h"

namespace trainyard::kernels::cuda {

// Raised with every change of this file.
constexpr int32_t kModuleVersion = 3;
constexpr char kModuleFile[] = "libtrainyard_cuda.so";
constexpr char kModuleEntry[] = "trainyard_cuda_module";
constexpr int kDevicesMax = 16;

// Two builds of the same stamp lay out and call kernels/backend.h alike.
// TRAINYARD_MODULE_INTERFACE is a hash of what crosses (kernels/sources.cmake).
#define TRAINYARD_TEXT_OF(value) #value
#define TRAINYARD_TEXT(macro) TRAINYARD_TEXT_OF(macro)
constexpr char kModuleBuild[] =
    "compiler " __VERSION__ ", C++ ABI " TRAINYARD_TEXT(__GXX_ABI_VERSION) "/" TRAINYARD_TEXT(
        _GLIBCXX_USE_CXX11_ABI) ", interface " TRAINYARD_MODULE_INTERFACE;
#undef TRAINYARD_TEXT
#undef TRAINYARD_TEXT_OF

struct ModuleDevice {
  char name[256];
  // "GPU-...", as nvidia-smi prints it; of a part of a GPU the name by which CUDA_VISIBLE_DEVICES
  // shows it: "MIG-...".
  char uuid[96];
  int64_t memory_bytes;
  int32_t compute_major, compute_minor;
};

struct ModuleReport {
  // As NVIDIA counts: 13000 is CUDA 13.0.
  int32_t driver_version;  // the newest CUDA that the driver can do; 0: no driver
  char driver[80];         // the driver's own version: "580.65.06"; empty: not known
  int32_t runtime_version;
  int64_t cublaslt_version, cudnn_version;  // 0: this build has none
  int32_t visible_count;                    // of GPUs, those that cannot compute among them
  int32_t device_count;                     // only those that can compute
  ModuleDevice devices[kDevicesMax];
  char problem[512];  // why there is no device, one line; else empty
};

// -1: not known.
struct ModuleUse {
  int64_t memory_used_bytes;
  int32_t busy_percent;
};

struct Module {
  int32_t version;    // kModuleVersion of its build; only if it is ours may the rest be looked at
  const char* build;  // kModuleBuild of it, likewise
  // `report` comes in as zeros.
  void (*probe)(ModuleReport* report);
  // Of the whole GPU, whoever uses it. From any thread.
  void (*use)(const char* uuid, ModuleUse* use);
  // On the GPU that the options name. Throws Error, with the reason in one line.
  std::unique_ptr<Backend> (*make_backend)(const BackendOptions& options);
};

// The library's one symbol.
using ModuleEntry = const Module* (*)();

}  // namespace trainyard::kernels::cuda
