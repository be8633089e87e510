// What a capturing stream forbids.
#pragma once

#include "kernels/cuda/emulation/runtime.h"

namespace trainyard::kernels::cuda::emulation {

// For functions that may not be called while a stream captures: where one does, they make the
// capture invalid and fail. A capture in the relaxed mode forbids only to wait.
cudaError_t RefuseInCapture(bool waits = false);

}  // namespace trainyard::kernels::cuda::emulation
