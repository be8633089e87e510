// In which order blocks and threads run. CUDA promises none, so a kernel must give the same under
// each of these.
#pragma once

#include <cstdint>
#include <vector>

namespace trainyard::kernels::cuda::emulation {

enum class Order {
  kForward,  // ascending, each as far as it comes; those who waited go on first come, first served
  kReverse,  // descending; those who waited go on last come, first served, before others start
  kRandom,   // any that can run
};

struct Schedule {
  Order threads = Order::kForward;
  Order blocks = Order::kForward;
  uint64_t seed = 1;  // of kRandom: the same seed gives the same order
};

// What kernels launched from now on run under.
inline Schedule schedule;

// Streams do at once what they are told. While this is set, they do it late: when something waits
// for it, or by chance before that, as far as events let them. For one OS thread.
inline bool late_streams = false;

// SplitMix64 (Steele, Lea and Flood, 2014): small, and good enough to choose who is next.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  uint64_t Below(uint64_t count) { return Next() % count; }

 private:
  uint64_t state_;
};

// 0 .. count - 1 in that order.
std::vector<uint32_t> Sequence(uint32_t count, Order order, Random& random);

}  // namespace trainyard::kernels::cuda::emulation
