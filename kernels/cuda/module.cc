// libtrainyard_cuda.so: says which GPUs are there, and computes on them. What is missing is missed
// before anybody counts on a GPU: of what it is linked to when it is loaded, and of what cuDNN
// loads late when it is asked for GPUs.
#include "kernels/cuda/module.h"

#include "kernels/cuda/runtime.h"
#if !defined(TRAINYARD_CUDA_EMULATION)
#include <cublasLt.h>
#include <cudnn.h>

#include "kernels/cuda/cudnn/sublibraries.h"
#endif

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/device_backend.h"
#include "kernels/cuda/nvml.h"

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

// CUDA shows one part of a GPU at most (MIG), and by no other name than this one. Empty: it shows
// whole GPUs.
std::string VisiblePart() {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible == nullptr || !std::string_view(visible).starts_with("MIG-")) return "";
  const std::string names = visible;
  return names.substr(0, names.find(','));
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

// Whether the GPU can compute; what is in its way becomes the report's problem.
bool AskDevice(int device, ModuleReport* report, cudaDeviceProp* properties) {
  if (const cudaError_t error = cudaGetDeviceProperties(properties, device); error != cudaSuccess) {
    SetProblem(report, "GPU %d cannot be asked: %s", device, cudaGetErrorString(error));
    return false;
  }
  const int major = properties->major, minor = properties->minor;
  if (major > kComputeMajorMin || (major == kComputeMajorMin && minor >= kComputeMinorMin)) {
    return true;
  }
  SetProblem(report, "GPU %d (%s) is too old: its compute capability is %d.%d, expected %d.%d",
             device, properties->name, major, minor, kComputeMajorMin, kComputeMinorMin);
  return false;
}

// The GPUs that can compute, by the runtime's numbers for them.
std::vector<int> ListDevices(ModuleReport* report) {
  std::vector<int> devices;
  const std::string part = report->visible_count == 1 ? VisiblePart() : "";
  for (int i = 0; i < report->visible_count && report->device_count < kDevicesMax; ++i) {
    cudaDeviceProp properties;
    if (!AskDevice(i, report, &properties)) continue;
    devices.push_back(i);
    ModuleDevice* device = &report->devices[report->device_count++];
    std::snprintf(device->name, sizeof device->name, "%s", properties.name);
    if (part.empty()) {
      SetUuid(properties.uuid, device);
    } else {
      std::snprintf(device->uuid, sizeof device->uuid, "%s", part.c_str());
    }
    device->memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
    device->compute_major = properties.major;
    device->compute_minor = properties.minor;
  }
  return devices;
}

// The same, and all that there is to report.
std::vector<int> FindDevices(ModuleReport* report) {
  cudaDriverGetVersion(&report->driver_version);
  cudaRuntimeGetVersion(&report->runtime_version);
#if !defined(TRAINYARD_CUDA_EMULATION)
  report->cublaslt_version = static_cast<int64_t>(cublasLtGetVersion());
  report->cudnn_version = static_cast<int64_t>(cudnnGetVersion());
#endif
  if (const cudaError_t error = cudaGetDeviceCount(&report->visible_count); error != cudaSuccess) {
    report->visible_count = 0;
    ExplainError(error, report);
    return {};
  }
  std::vector<int> devices = ListDevices(report);
  if (report->device_count > 0) {
    report->problem[0] = '\0';
  } else if (report->problem[0] == '\0') {
    SetProblem(report, "the NVIDIA driver shows no GPU to this process");
  }
  return devices;
}

void Probe(ModuleReport* report) {
  if (FindDevices(report).empty()) return;
#if !defined(TRAINYARD_CUDA_EMULATION)  // these are of the machine, which the emulated one is not
  std::snprintf(report->driver, sizeof report->driver, "%s", DriverVersionByNvml().c_str());
  const std::string problem = ProblemOfSublibraries();
  if (problem.empty()) return;
  report->device_count = 0;
  SetProblem(report, "%s", problem.c_str());
#endif
}

// The runtime's number of a usable GPU: the first, or the one with this UUID. Throws Error, and
// DeviceLost where that one is not there: it was when it was chosen.
int FindDevice(const std::string& uuid) {
  const auto report = std::make_unique<ModuleReport>();
  const std::vector<int> devices = FindDevices(report.get());
  if (uuid.empty()) {
    if (devices.empty()) throw Error(report->problem);
    return devices[0];
  }
  for (size_t i = 0; i < devices.size(); ++i) {
    if (uuid == report->devices[i].uuid) return devices[i];
  }
  throw DeviceLost("found no usable GPU " + uuid + " among " + std::to_string(devices.size()) +
                   (devices.empty() ? std::string(": ") + report->problem : ""));
}

std::unique_ptr<Backend> MakeModuleBackend(const BackendOptions& options) {
  CudaOptions cuda;
  cuda.precision = options.precision;
  cuda.cache_folder = options.cache_folder;
  return OnDevice(FindDevice(options.gpu), [&] { return MakeCudaBackend(cuda); });
}

// Makes a context on the GPU, of some hundred MiB, where this process has none yet.
int64_t MemoryUsed(const char* uuid) {
  const auto report = std::make_unique<ModuleReport>();
  const std::vector<int> devices = FindDevices(report.get());
  for (size_t i = 0; i < devices.size(); ++i) {
    if (std::string_view(uuid) != report->devices[i].uuid) continue;
    size_t free = 0, total = 0;
    if (cudaSetDevice(devices[i]) != cudaSuccess) return -1;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess) return -1;
    return static_cast<int64_t>(total - free);
  }
  return -1;
}

void AskUse(const char* uuid, ModuleUse* use) {
  const NvmlUse found = UseByNvml(uuid);
  use->memory_used_bytes =
      found.memory_used_bytes >= 0 ? found.memory_used_bytes : MemoryUsed(uuid);
  use->busy_percent = found.busy_percent;
}

constexpr Module kModule = {kModuleVersion, kModuleBuild, Probe, AskUse, MakeModuleBackend};

}  // namespace
}  // namespace trainyard::kernels::cuda

extern "C" [[gnu::visibility("default")]] const trainyard::kernels::cuda::Module*
trainyard_cuda_module() {
  return &trainyard::kernels::cuda::kModule;
}
