// Which images are trained on in which order depends on seeds and epoch only.
#include "worker/engine/order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <vector>

namespace trainyard::engine {
namespace {

std::vector<int32_t> FirstNumbers(int count) {
  std::vector<int32_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

TEST(Order, EveryEpochHasEveryImageOnce) {
  const std::vector<int32_t> images = FirstNumbers(1000);
  for (int epoch : {0, 1, 7}) {
    std::vector<int32_t> order = EpochOrder(images, 42, epoch);
    EXPECT_NE(order, images);
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, images);
  }
}

TEST(Order, EpochsAndSeedsDiffer) {
  const std::vector<int32_t> images = FirstNumbers(1000);
  EXPECT_NE(EpochOrder(images, 42, 0), EpochOrder(images, 42, 1));
  EXPECT_NE(EpochOrder(images, 42, 0), EpochOrder(images, 43, 0));
  EXPECT_EQ(EpochOrder(images, 42, 5), EpochOrder(images, 42, 5));
}

TEST(Order, TakenAheadIsThatOfItsEpoch) {
  const std::vector<int32_t> images = FirstNumbers(1000);
  EpochOrders orders(images, 42);
  // In a row, the same again, and from elsewhere, as after a restart.
  for (int epoch : {0, 1, 2, 2, 7, 8, 0}) {
    EXPECT_EQ(orders.Take(epoch), EpochOrder(images, 42, epoch)) << "epoch " << epoch;
  }
}

TEST(Order, EveryOrderOfFourIsAboutEquallyLikely) {
  std::map<std::vector<int32_t>, int> seen;
  constexpr int kDraws = 24000;
  for (int epoch = 0; epoch < kDraws; ++epoch) ++seen[EpochOrder({0, 1, 2, 3}, 1, epoch)];
  ASSERT_EQ(seen.size(), 24u);
  // 1000 expected each, standard deviation 31.
  for (const auto& [order, count] : seen) EXPECT_NEAR(count, kDraws / 24, 160);
}

TEST(Order, SplitIsDisjointAndComplete) {
  const Split split = SplitOff(1000, 0.2, 3);
  EXPECT_EQ(split.validation.size(), 200u);
  std::vector<int32_t> all = split.train;
  all.insert(all.end(), split.validation.begin(), split.validation.end());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, FirstNumbers(1000));
  EXPECT_NE(SplitOff(1000, 0.2, 4).validation, split.validation);
}

TEST(Order, SplitLeavesSomethingToTrainOnAndSetsSomethingAside) {
  EXPECT_EQ(SplitOff(10, 0.999, 1).train.size(), 1u);
  EXPECT_EQ(SplitOff(10, 0.001, 1).validation.size(), 1u);
  EXPECT_EQ(SplitOff(10, 0, 1).validation.size(), 0u);
  EXPECT_EQ(SplitOff(1, 0.5, 1).train.size(), 1u);
}

}  // namespace
}  // namespace trainyard::engine
