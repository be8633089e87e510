// What can befall the machine. Tests set it; nothing else does.
#pragma once

#include <atomic>
#include <cstddef>

#include "kernels/cuda/emulation/runtime.h"

namespace trainyard::kernels::cuda::emulation {

// What each call of the runtime fails with, as when the device is lost. What is destroyed or freed
// is so all the same.
inline std::atomic<cudaError_t> fault = cudaSuccess;

// How much device memory there is; 0: as much as the machine has.
inline std::atomic<size_t> device_bytes = 0;

}  // namespace trainyard::kernels::cuda::emulation
