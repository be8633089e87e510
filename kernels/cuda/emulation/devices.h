// The devices that the emulated machine says it has: one, unless a test makes up others. They
// differ by name and UUID alone.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernels/cuda/emulation/runtime.h"

struct cudaUUID_t {
  char bytes[16];
};
struct cudaDeviceProp {
  char name[256];
  cudaUUID_t uuid;
  size_t totalGlobalMem;
  int major, minor;
};

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);  // this OS thread's
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);

namespace trainyard::kernels::cuda::emulation {

struct Device {
  std::string name = "emulated machine";
  cudaUUID_t uuid{};
  int major = 9, minor = 0;  // compute capability
};

// None: as if there were no driver. Before anything else is asked of the machine.
void SetDevices(std::vector<Device> devices);

}  // namespace trainyard::kernels::cuda::emulation
