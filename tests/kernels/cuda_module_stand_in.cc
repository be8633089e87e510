// Libraries for cuda_module_test: built several times, each with another fault, and once without.
#include <cstring>

#include "kernels/cuda/module.h"

namespace cuda = trainyard::kernels::cuda;

#ifdef STAND_IN_MISSES_A_LIBRARY
extern "C" void NoSuchLibraryWhenLoaded();
extern "C" void UsesIt() { NoSuchLibraryWhenLoaded(); }
#endif

#ifndef STAND_IN_VERSION
#define STAND_IN_VERSION cuda::kModuleVersion
#endif

#ifndef STAND_IN_WITHOUT_ENTRY
extern "C" const cuda::Module* trainyard_cuda_module() {
  static const cuda::Module module = {STAND_IN_VERSION, [](cuda::ModuleReport* report) {
                                        report->driver_version = 13010;
                                        report->runtime_version = 13000;
                                        report->cublaslt_version = 130100;
                                        report->cudnn_version = 91900;
                                        report->device_count = 1;
                                        cuda::ModuleDevice& device = report->devices[0];
                                        std::strcpy(device.name, "A GPU");
                                        std::strcpy(device.uuid, "GPU-00000000");
                                        device.memory_bytes = int64_t{80} << 30;
                                        device.compute_major = 9;
                                      }};
  return &module;
}
#endif
