// What kernels/cuda/launch.h gives a kernel's source, on the emulated machine.
#pragma once

#include <cstddef>
#include <functional>
#include <type_traits>

#include "kernels/cuda/emulation/language.h"
#include "kernels/cuda/emulation/runtime.h"

#define KERNEL_SHARED(type, name, ...)                                           \
  static char name##_site;                                                       \
  using name##_type = type __VA_ARGS__;                                          \
  name##_type& name = *static_cast<name##_type*>(                                \
      ::trainyard::kernels::cuda::emulation::Machine::Current().shared().Static( \
          &name##_site, sizeof(name##_type), alignof(name##_type)))
#define KERNEL_DYNAMIC_SHARED(type, name) \
  type* name = static_cast<type*>(        \
      ::trainyard::kernels::cuda::emulation::Machine::Current().shared().Dynamic())

namespace trainyard::kernels::cuda {
namespace emulation {

// Throws Error where CUDA refuses such a launch of `kernel`. Then it is told, and no last error.
void EnqueueKernel(const void* kernel, dim3 grid, dim3 block, size_t dynamic_shared_bytes,
                   cudaStream_t stream, std::function<void()> body);
void AllowShared(const void* kernel, size_t dynamic_shared_bytes);

}  // namespace emulation

template <typename... Parameters, typename... Arguments>
void Launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, Arguments... arguments) {
  constexpr size_t kParameterBytesMax = 4096;
  static_assert((std::is_trivially_copyable_v<Parameters> && ...), "kernels' parameters are bytes");
  static_assert((sizeof(Parameters) + ... + 0) <= kParameterBytesMax);
  emulation::EnqueueKernel(reinterpret_cast<const void*>(kernel), grid, block, shared_bytes, stream,
                           [=] { kernel(static_cast<Parameters>(arguments)...); });
}

template <typename... Parameters>
void AllowShared(void (*kernel)(Parameters...), size_t shared_bytes) {
  emulation::AllowShared(reinterpret_cast<const void*>(kernel), shared_bytes);
}

}  // namespace trainyard::kernels::cuda
