// Randomness that is the same everywhere: SplitMix64 (Steele, Lea, Flood, 2014), and no std
// distribution, whose results differ between libraries.
#pragma once

#include <cstdint>

namespace trainyard::sim {

// A well mixed function of one number; chains of it stand for training.
inline uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(Mix(seed)) {}

  uint64_t Next() { return state_ = Mix(state_); }
  // From low to high, both included.
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(Next() % static_cast<uint64_t>(high - low + 1));
  }
  bool Chance(int percent) { return Between(1, 100) <= percent; }

 private:
  uint64_t state_;
};

}  // namespace trainyard::sim
