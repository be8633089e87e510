// Numbers that look random and are a function of what they are for, so that a search draws the same
// again whatever else was drawn: SplitMix64 (Steele, Lea, Flood, 2014) over a counter. No std
// distribution, whose results differ between libraries.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <numbers>

namespace trainyard::core {

class Draws {
 public:
  Draws(uint64_t seed, int trial, int redraw, size_t dimension) : state_(Mix(seed)) {
    for (const uint64_t part : {static_cast<uint64_t>(trial), static_cast<uint64_t>(redraw),
                                static_cast<uint64_t>(dimension)}) {
      state_ = Mix(state_ ^ part);
    }
  }

  // Even over [0, 1).
  double Unit() { return static_cast<double>(Mix(state_ + ++count_) >> 11) * 0x1p-53; }

  // Normal with mean 0 and deviation 1 (Box and Muller, 1958).
  double Normal() {
    const double radius = std::sqrt(-2 * std::log(1 - Unit()));
    return radius * std::cos(2 * std::numbers::pi * Unit());
  }

 private:
  static uint64_t Mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }

  uint64_t state_;
  uint64_t count_ = 0;
};

}  // namespace trainyard::core
