#include "kernels/cuda/emulation/nvidia/enqueue.h"

#include <utility>

#include "kernels/cuda/emulation/runtime.h"

namespace trainyard::kernels::cuda::emulation::nvidia {

bool Enqueue(void* stream, std::function<void()> work) {
  return emulation::Enqueue(static_cast<cudaStream_t>(stream), std::move(work)) == cudaSuccess;
}

}  // namespace trainyard::kernels::cuda::emulation::nvidia
