// What a kernel's source is written with, so that nvcc builds it for a GPU and g++ for the emulated
// machine: KERNEL_SHARED and KERNEL_DYNAMIC_SHARED instead of __shared__, Launch instead of <<<>>>.
#pragma once

#include <cstddef>

#include "kernels/cuda/check.h"
#include "kernels/cuda/runtime.h"

namespace trainyard::kernels::cuda {

// What a launch may have without asking (AllowShared).
constexpr int kSharedBytesMax = 48 * 1024;

}  // namespace trainyard::kernels::cuda

#if !defined(TRAINYARD_CUDA_EMULATION)

// KERNEL_SHARED(float, tile, [8][33]);
#define KERNEL_SHARED(type, name, ...) __shared__ type name __VA_ARGS__
// KERNEL_DYNAMIC_SHARED(float, tile): as many bytes as the launch says, aligned to 16.
#define KERNEL_DYNAMIC_SHARED(type, name)                     \
  extern __shared__ __align__(16) unsigned char name##_raw[]; \
  type* name = reinterpret_cast<type*>(name##_raw)

namespace trainyard::kernels::cuda {

// Enqueues `kernel`. Throws Error where the launch itself is refused.
template <typename... Parameters, typename... Arguments>
void Launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, Arguments... arguments) {
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
  CheckCuda(cudaGetLastError(), "a kernel's launch");
}

// Must come before launches with more than kSharedBytesMax of shared memory.
template <typename... Parameters>
void AllowShared(void (*kernel)(Parameters...), size_t shared_bytes) {
  CheckCuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                 cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared_bytes)),
            "raising a kernel's shared memory");
}

}  // namespace trainyard::kernels::cuda

#endif
