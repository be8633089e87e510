// A CUDA driver without a device: what cuDNN needs of one to compile fused kernels and to finish
// their plans. Nothing can be launched. All else that a driver has is in a generated file and
// fails.
#include "tests/kernels/cuda/cudnn/driver.h"

extern "C" {

bool trainyard_test_driver_loads = true;

int cuLibraryLoadData(void** library) {
  if (!trainyard_test_driver_loads) return 200;  // CUDA_ERROR_INVALID_IMAGE
  *library = library;                            // any handle: it is only passed on
  return 0;
}

int cuLibraryGetKernel(void** kernel) {
  *kernel = kernel;
  return 0;
}

int cuLibraryUnload() { return 0; }
}
