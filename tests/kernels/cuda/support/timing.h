// How long work takes on the device, and which device that is.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "kernels/cuda/runtime.h"

namespace trainyard::kernels::cuda::testing {

#if defined(TRAINYARD_CUDA_EMULATION)
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

struct Device {
  std::string name;
  int64_t l2_bytes = 0;
};
Device DescribeDevice();

// Seconds of one `launch`: the median of several replays of a graph of many, after a warm-up.
// Emulated, of one replay of one: a time that means nothing.
double SecondsPerLaunch(const std::function<void(cudaStream_t)>& launch);

}  // namespace trainyard::kernels::cuda::testing
