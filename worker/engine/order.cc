#include "worker/engine/order.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "kernels/philox.h"

namespace trainyard::engine {
namespace {

// Values of StreamPosition::layer for kShuffle.
constexpr int kEpochLayer = 0;
constexpr int kSplitLayer = 1;

// Fisher and Yates; word i of the stream chooses what ends at place i.
void Shuffle(const kernels::StreamPosition& stream, std::vector<int32_t>* items) {
  for (size_t i = items->size(); i-- > 1;) {
    const uint32_t j =
        kernels::RandomBelow(kernels::RandomWord(stream, i), static_cast<uint32_t>(i + 1));
    std::swap((*items)[i], (*items)[j]);
  }
}

}  // namespace

Split SplitOff(int64_t count, double fraction, uint64_t seed) {
  std::vector<int32_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  int64_t aside = 0;
  if (fraction > 0) {
    aside = std::llround(static_cast<double>(count) * fraction);
    aside = std::min(std::max<int64_t>(aside, 1), count - 1);
    Shuffle({seed, 0, kSplitLayer, kernels::Purpose::kShuffle}, &all);
  }
  Split split;
  split.validation.assign(all.begin(), all.begin() + aside);
  split.train.assign(all.begin() + aside, all.end());
  std::sort(split.validation.begin(), split.validation.end());
  std::sort(split.train.begin(), split.train.end());
  return split;
}

std::vector<int32_t> EpochOrder(const std::vector<int32_t>& images, uint64_t seed, int epoch) {
  std::vector<int32_t> order = images;
  Shuffle({seed, epoch, kEpochLayer, kernels::Purpose::kShuffle}, &order);
  return order;
}

std::vector<int32_t> EpochOrders::Take(int epoch) {
  std::vector<int32_t> order =
      next_.valid() && next_epoch_ == epoch ? next_.get() : EpochOrder(images_, seed_, epoch);
  next_epoch_ = epoch + 1;
  next_ = std::async(std::launch::async,
                     [this, wanted = epoch + 1] { return EpochOrder(images_, seed_, wanted); });
  return order;
}

}  // namespace trainyard::engine
