// libnvidia-ml.so.1 for nvml_test: it knows GPU-known, and of GPU-partly its memory alone.
#include <cstring>

namespace {

struct Memory {
  unsigned long long total, free, used;
};
struct Utilization {
  unsigned gpu, memory;
};
bool initialised = false;

}  // namespace

extern "C" {

int nvmlInit_v2() {
  initialised = true;
  return 0;
}

int nvmlDeviceGetHandleByUUID(const char* uuid, const char** device) {
  if (!initialised) return 1;  // NVML_ERROR_UNINITIALIZED
  const bool known = std::strcmp(uuid, "GPU-known") == 0 || std::strcmp(uuid, "GPU-partly") == 0;
  if (!known) return 6;  // NVML_ERROR_NOT_FOUND
  *device = uuid;
  return 0;
}

int nvmlSystemGetDriverVersion(char* version, unsigned length) {
  if (!initialised) return 1;
  if (length < 80) return 7;  // NVML_ERROR_INSUFFICIENT_SIZE
  std::strcpy(version, "580.65.06");
  return 0;
}

int nvmlDeviceGetMemoryInfo(const char*, Memory* memory) {
  *memory = {80ULL << 30, 77ULL << 30, 3ULL << 30};
  return 0;
}

int nvmlDeviceGetUtilizationRates(const char* device, Utilization* utilization) {
  if (std::strcmp(device, "GPU-partly") == 0) return 3;  // NVML_ERROR_NOT_SUPPORTED
  *utilization = {87, 12};
  return 0;
}
}
