#include "tests/kernels/cuda/cudnn/planner.h"

#include <fstream>
#include <iterator>

namespace trainyard::kernels::cuda::testing {

std::string DeviceJson(const std::string& device) {
  std::ifstream file(std::string(TRAINYARD_CUDNN_DEVICES) + "/" + device + ".json");
  return {std::istreambuf_iterator<char>(file), {}};
}

CudnnOptions PlannerOptions(const std::string& device, const std::string& cache_folder) {
  CudnnOptions options;
  options.device = device;
  options.cache_folder = cache_folder;
  options.planned_device_json = DeviceJson(device);
  return options;
}

}  // namespace trainyard::kernels::cuda::testing
