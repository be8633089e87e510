// Which images are trained on, and in which order: pure functions of seeds, so that a run that
// continues needs no memory of what was drawn before.
#pragma once

#include <cstdint>
#include <future>
#include <vector>

namespace trainyard::engine {

struct Split {
  std::vector<int32_t> train;       // ascending
  std::vector<int32_t> validation;  // ascending
};

// Sets round(count * fraction) of `count` images aside, at random by the seed; never all of them,
// and at least one where the fraction is above 0. Requires count >= 1 and 0 <= fraction < 1.
Split SplitOff(int64_t count, double fraction, uint64_t seed);

// The training images in the order of one epoch (counted from 0).
std::vector<int32_t> EpochOrder(const std::vector<int32_t>& images, uint64_t seed, int epoch);

// The same, each while the epoch before it is trained: a GPU waits for none.
class EpochOrders {
 public:
  // `images` must outlive this.
  EpochOrders(const std::vector<int32_t>& images, uint64_t seed) : images_(images), seed_(seed) {}
  std::vector<int32_t> Take(int epoch);

 private:
  const std::vector<int32_t>& images_;
  const uint64_t seed_;
  int next_epoch_ = -1;
  std::future<std::vector<int32_t>> next_;
};

}  // namespace trainyard::engine
