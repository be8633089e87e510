// The matrix products of a warp, as its last lane computes them for all.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/cuda/emulation/warp.h"

namespace trainyard::kernels::cuda::emulation {

// What a lane brings, and what it takes away; laid out as kernels/cuda/instructions.h says.
struct Fragments {
  uint32_t a[4], b[2];
};
using Product = std::array<float, 4>;

// Replace the fragments of a meeting by the products.
void MultiplyBf16(WarpMeeting& meeting);
void MultiplyTf32(WarpMeeting& meeting);

}  // namespace trainyard::kernels::cuda::emulation
