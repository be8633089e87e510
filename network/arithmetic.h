// Products of sizes that a user wrote: they saturate instead of overflowing.
#pragma once

#include <cstdint>
#include <limits>

namespace trainyard::network {

inline constexpr int64_t kSaturated = std::numeric_limits<int64_t>::max();

// a * b for non-negative a and b, or kSaturated.
inline int64_t SaturatingMultiply(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? kSaturated : product;
}

// a + b for non-negative a and b, or kSaturated.
inline int64_t SaturatingAdd(int64_t a, int64_t b) {
  int64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? kSaturated : sum;
}

}  // namespace trainyard::network
