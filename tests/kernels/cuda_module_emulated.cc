// Makes up the GPUs of the emulated CUDA module when it is loaded, from the environment:
//
//   TRAINYARD_EMULATED_GPUS       how many [1]; 0: there is no driver
//   TRAINYARD_EMULATED_GPU_MIB    memory of each [as much as this process may use]
//   TRAINYARD_EMULATED_GPU_USED_MIB  how much of that others use [0]
//   TRAINYARD_EMULATED_GPU_MAJOR  their compute capability's first number [9]
//   TRAINYARD_EMULATED_GPU_LOST   a file: once it is there, so soon are the GPUs not
//   TRAINYARD_EMULATED_GPU_FAULT  a file: once it is there, kernels fail
//   CUDA_VISIBLE_DEVICES          as in CUDA: numbers or UUIDs, up to the first that is none
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "kernels/cuda/emulation/devices.h"
#include "kernels/cuda/emulation/faults.h"

namespace trainyard::kernels::cuda::emulation {
namespace {

int Number(const char* variable, int otherwise) {
  const char* value = std::getenv(variable);
  return value != nullptr ? std::atoi(value) : otherwise;
}

// GPU n's UUID: GPU-00000000-0000-0000-0000-00000000000n.
std::vector<Device> AllDevices() {
  std::vector<Device> devices;
  for (int i = 0; i < Number("TRAINYARD_EMULATED_GPUS", 1); ++i) {
    Device device;
    device.name = "Emulated GPU " + std::to_string(i);
    device.uuid.bytes[15] = static_cast<char>(i);
    device.major = Number("TRAINYARD_EMULATED_GPU_MAJOR", 9);
    devices.push_back(device);
  }
  return devices;
}

std::vector<Device> VisibleDevices() {
  const std::vector<Device> all = AllDevices();
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible == nullptr) return all;
  std::vector<Device> devices;
  std::istringstream names(visible);
  for (std::string name; std::getline(names, name, ',');) {
    const size_t number = static_cast<size_t>(std::atoi(name.substr(name.rfind('-') + 1).c_str()));
    if (number >= all.size() || name == "-1") break;
    devices.push_back(all[number]);
  }
  return devices;
}

// Left behind with the process.
void FailOnceThereIs(const std::string& file, cudaError_t error_then) {
  std::thread([file, error_then] {
    std::error_code error;
    while (!std::filesystem::exists(file, error)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    fault = error_then;
  }).detach();
}

const bool made_up = [] {
  device_bytes = static_cast<size_t>(Number("TRAINYARD_EMULATED_GPU_MIB", 0)) << 20;
  SetDevices(VisibleDevices());
  if (const int used = Number("TRAINYARD_EMULATED_GPU_USED_MIB", 0); used > 0) {
    void* left_to_others = nullptr;
    cudaMalloc(&left_to_others, static_cast<size_t>(used) << 20);
  }
  if (const char* file = std::getenv("TRAINYARD_EMULATED_GPU_LOST")) {
    FailOnceThereIs(file, cudaErrorECCUncorrectable);
  }
  if (const char* file = std::getenv("TRAINYARD_EMULATED_GPU_FAULT")) {
    FailOnceThereIs(file, cudaErrorIllegalAddress);
  }
  return true;
}();

}  // namespace
}  // namespace trainyard::kernels::cuda::emulation
