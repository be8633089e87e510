#include "kernels/cuda/emulation/schedule.h"

#include <algorithm>
#include <numeric>

namespace trainyard::kernels::cuda::emulation {

uint64_t Random::Next() {
  uint64_t word = state_ += 0x9E3779B97F4A7C15;
  word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9;
  word = (word ^ (word >> 27)) * 0x94D049BB133111EB;
  return word ^ (word >> 31);
}

std::vector<uint32_t> Sequence(uint32_t count, Order order, Random& random) {
  std::vector<uint32_t> sequence(count);
  std::iota(sequence.begin(), sequence.end(), 0u);
  if (order == Order::kReverse) std::reverse(sequence.begin(), sequence.end());
  if (order == Order::kRandom) {
    for (uint32_t i = count; i > 1; --i) std::swap(sequence[i - 1], sequence[random.Below(i)]);
  }
  return sequence;
}

}  // namespace trainyard::kernels::cuda::emulation
