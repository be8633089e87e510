// cuDNN planning for a device that is only described.
#pragma once

#include <memory>
#include <string>

#include "kernels/cuda/cudnn/library.h"

namespace trainyard::kernels::cuda::testing {

// "a100" (sm_80) or "h100" (sm_90).
inline const char* const kDevices[] = {"a100", "h100"};
std::string DeviceJson(const std::string& device);

CudnnOptions PlannerOptions(const std::string& device, const std::string& cache_folder = "");

}  // namespace trainyard::kernels::cuda::testing
