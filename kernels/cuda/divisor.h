// Division by a number known before the launch: three instructions instead of about twenty.
//
// Source: Granlund and Montgomery, "Division by Invariant Integers using Multiplication", 1994.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

// Made on the host from a divisor of at least 1; exact for every dividend below 2^31: with
// 2^31 <= multiplier < 2^32, the error of the quotient is below dividend / 2^(31 + shift) < 1 /
// divisor.
struct Divisor {
  Divisor() = default;
  explicit Divisor(int of)
      : divisor(static_cast<uint32_t>(of)),
        shift(static_cast<uint32_t>(std::bit_width(divisor - 1))),
        multiplier(static_cast<uint32_t>(CeilDivide(uint64_t{1} << (31 + shift), divisor))) {}

  uint32_t divisor = 1, shift = 0, multiplier = 1u << 31;
};

TRAINYARD_HOST_DEVICE uint32_t Quotient(uint32_t dividend, const Divisor& by) {
  return static_cast<uint32_t>(uint64_t{2 * dividend} * by.multiplier >> 32) >> by.shift;
}

// What is left of `dividend`, whose quotient is given.
TRAINYARD_HOST_DEVICE uint32_t Remainder(uint32_t dividend, uint32_t quotient, const Divisor& by) {
  return dividend - quotient * by.divisor;
}

}  // namespace trainyard::kernels::cuda
