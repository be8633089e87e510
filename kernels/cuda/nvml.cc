#include "kernels/cuda/nvml.h"

#include <dlfcn.h>

#include <cstddef>

namespace trainyard::kernels::cuda {
namespace {

// The part of nvml.h that is needed; toolkits have that header only sometimes.
// Source: NVIDIA, "NVML API Reference Guide".
using Device = struct nvmlDevice_st*;
struct Memory {
  unsigned long long total, free, used;
};
struct Utilization {
  unsigned gpu, memory;  // percent
};
constexpr int kSuccess = 0;

struct Nvml {
  Nvml() : library(dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) {
    int (*init)() = nullptr;
    const bool found = library != nullptr && Find("nvmlInit_v2", &init) &&
                       Find("nvmlDeviceGetHandleByUUID", &handle_by_uuid) &&
                       Find("nvmlDeviceGetMemoryInfo", &memory_info) &&
                       Find("nvmlDeviceGetUtilizationRates", &utilization_rates) &&
                       Find("nvmlSystemGetDriverVersion", &driver_version);
    works = found && init() == kSuccess;
  }

  template <typename Function>
  bool Find(const char* name, Function* function) {
    *function = reinterpret_cast<Function>(dlsym(library, name));
    return *function != nullptr;
  }

  void* library;
  bool works = false;
  int (*handle_by_uuid)(const char*, Device*) = nullptr;
  int (*memory_info)(Device, Memory*) = nullptr;
  int (*utilization_rates)(Device, Utilization*) = nullptr;
  int (*driver_version)(char*, unsigned) = nullptr;
};

// Never unloaded, nor shut down: others of this process may use it.
const Nvml& LoadedNvml() {
  static const Nvml& nvml = *new Nvml;
  return nvml;
}

}  // namespace

NvmlUse UseByNvml(const char* uuid) {
  const Nvml& nvml = LoadedNvml();
  NvmlUse use;
  Device device = nullptr;
  if (!nvml.works || nvml.handle_by_uuid(uuid, &device) != kSuccess) return use;
  Memory memory{};
  if (nvml.memory_info(device, &memory) == kSuccess) {
    use.memory_used_bytes = static_cast<int64_t>(memory.used);
  }
  Utilization utilization{};
  if (nvml.utilization_rates(device, &utilization) == kSuccess) {
    use.busy_percent = static_cast<int>(utilization.gpu);
  }
  return use;
}

std::string DriverVersionByNvml() {
  const Nvml& nvml = LoadedNvml();
  char version[80] = "";  // NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE
  if (!nvml.works || nvml.driver_version(version, sizeof version) != kSuccess) return "";
  return version;
}

}  // namespace trainyard::kernels::cuda
