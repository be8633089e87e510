// libtrainyard_cuda.so: says which GPUs are there. Linked to what a CUDA backend computes with, so
// that what is missing is missed when it is loaded, before anybody counts on a GPU.
#include "kernels/cuda/module.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>

namespace trainyard::kernels::cuda {
namespace {

// Our kernels have code from Ampere on (cmake/Nvcc.cmake): asynchronous copies, bf16 tensor cores.
constexpr int kComputeMajorMin = 8, kComputeMinorMin = 0;

[[gnu::format(printf, 2, 3)]] void SetProblem(ModuleReport* report, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(report->problem, sizeof report->problem, format, arguments);
  va_end(arguments);
}

void SetUuid(const cudaUUID_t& uuid, ModuleDevice* device) {
  int length = std::snprintf(device->uuid, sizeof device->uuid, "GPU");
  for (int i = 0; i < 16; ++i) {
    const bool dash = i == 0 || i == 4 || i == 6 || i == 8 || i == 10;
    length += std::snprintf(device->uuid + length, sizeof device->uuid - length, "%s%02x",
                            dash ? "-" : "", static_cast<unsigned char>(uuid.bytes[i]));
  }
}

void ExplainError(cudaError_t error, ModuleReport* report) {
  const int driver = report->driver_version, runtime = report->runtime_version;
  if (error == cudaErrorInsufficientDriver && driver == 0) {
    SetProblem(report, "no NVIDIA driver is here (libcuda.so.1)");
  } else if (error == cudaErrorInsufficientDriver) {
    SetProblem(report,
               "the NVIDIA driver is too old: it can do CUDA %d.%d, expected %d.%d or newer",
               driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  } else if (error == cudaErrorNoDevice) {
    SetProblem(report, "the NVIDIA driver shows no GPU to this process");
  } else {
    SetProblem(report, "CUDA does not start: %s (%s)", cudaGetErrorString(error),
               cudaGetErrorName(error));
  }
}

// The GPUs that can compute; of the others, the last one's problem is kept.
void ListDevices(int count, ModuleReport* report) {
  for (int i = 0; i < count && report->device_count < kDevicesMax; ++i) {
    cudaDeviceProp properties;
    if (const cudaError_t error = cudaGetDeviceProperties(&properties, i); error != cudaSuccess) {
      SetProblem(report, "GPU %d cannot be asked: %s", i, cudaGetErrorString(error));
      continue;
    }
    const int major = properties.major, minor = properties.minor;
    if (major < kComputeMajorMin || (major == kComputeMajorMin && minor < kComputeMinorMin)) {
      SetProblem(report, "GPU %d (%s) is too old: its compute capability is %d.%d, expected %d.%d",
                 i, properties.name, major, minor, kComputeMajorMin, kComputeMinorMin);
      continue;
    }
    ModuleDevice* device = &report->devices[report->device_count++];
    std::snprintf(device->name, sizeof device->name, "%s", properties.name);
    SetUuid(properties.uuid, device);
    device->memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
    device->compute_major = major;
    device->compute_minor = minor;
  }
}

void Probe(ModuleReport* report) {
  cudaDriverGetVersion(&report->driver_version);
  cudaRuntimeGetVersion(&report->runtime_version);
  report->cublaslt_version = static_cast<int64_t>(cublasLtGetVersion());
  report->cudnn_version = static_cast<int64_t>(cudnnGetVersion());
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    ExplainError(error, report);
    return;
  }
  ListDevices(count, report);
  if (report->device_count > 0) {
    report->problem[0] = '\0';
  } else if (report->problem[0] == '\0') {
    SetProblem(report, "the NVIDIA driver shows no GPU to this process");
  }
}

constexpr Module kModule = {kModuleVersion, Probe};

}  // namespace
}  // namespace trainyard::kernels::cuda

extern "C" [[gnu::visibility("default")]] const trainyard::kernels::cuda::Module*
trainyard_cuda_module() {
  return &trainyard::kernels::cuda::kModule;
}
