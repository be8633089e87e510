// For hosts and kernels.
#pragma once

#include <cstdint>

namespace trainyard::kernels::cuda {

// a / b, rounded up: a >= 0, b > 0.
template <typename A, typename B>
constexpr auto CeilDivide(A a, B b) {
  return a / b + (a % b != 0 ? 1 : 0);
}

// The next multiple: value >= 0.
template <int64_t kMultiple>
constexpr int64_t RoundUp(int64_t value) {
  return CeilDivide(value, kMultiple) * kMultiple;
}

// A grid's x for `count` of something, `per_block` in each block.
constexpr unsigned Blocks(int64_t count, int64_t per_block) {
  return static_cast<unsigned>(CeilDivide(count, per_block));
}

}  // namespace trainyard::kernels::cuda
