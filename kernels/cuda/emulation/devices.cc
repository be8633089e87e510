#include "kernels/cuda/emulation/devices.h"

#include <cstdio>
#include <utility>

namespace trainyard::kernels::cuda::emulation {
namespace {

constexpr int kVersion = 13000;

// Never destroyed: other static objects may ask later.
std::vector<Device>& Devices() {
  static std::vector<Device>& devices = *new std::vector<Device>(1);
  return devices;
}

constinit thread_local int current_device = 0;

bool IsDevice(int device) { return device >= 0 && device < static_cast<int>(Devices().size()); }

}  // namespace

void SetDevices(std::vector<Device> devices) { Devices() = std::move(devices); }

}  // namespace trainyard::kernels::cuda::emulation

using namespace trainyard::kernels::cuda::emulation;

cudaError_t cudaGetDeviceCount(int* count) {
  if (count == nullptr) return Note(cudaErrorInvalidValue);
  *count = static_cast<int>(Devices().size());
  return *count > 0 ? NoteFault() : Note(cudaErrorInsufficientDriver);
}

cudaError_t cudaGetDevice(int* device) {
  if (device == nullptr) return Note(cudaErrorInvalidValue);
  *device = current_device;
  return NoteFault();
}

cudaError_t cudaSetDevice(int device) {
  if (!IsDevice(device)) return Note(cudaErrorInvalidDevice);
  current_device = device;
  return NoteFault();
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (properties == nullptr) return Note(cudaErrorInvalidValue);
  if (!IsDevice(device)) return Note(cudaErrorInvalidDevice);
  const Device& described = Devices()[static_cast<size_t>(device)];
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "%s", described.name.c_str());
  properties->uuid = described.uuid;
  properties->major = described.major;
  properties->minor = described.minor;
  size_t free_bytes = 0;
  return cudaMemGetInfo(&free_bytes, &properties->totalGlobalMem);
}

cudaError_t cudaDriverGetVersion(int* version) {
  if (version == nullptr) return Note(cudaErrorInvalidValue);
  *version = Devices().empty() ? 0 : kVersion;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  if (version == nullptr) return Note(cudaErrorInvalidValue);
  *version = kVersion;
  return cudaSuccess;
}
