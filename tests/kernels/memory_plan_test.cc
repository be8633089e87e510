// No two buffers that live at the same time share a byte, and memory is used again once it is free.
#include "kernels/memory_plan.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace trainyard::kernels {
namespace {

constexpr int64_t kAlignment = 64;

void ExpectApart(const std::vector<Lifetime>& lifetimes, const MemoryPlan& plan) {
  ASSERT_EQ(plan.offsets.size(), lifetimes.size());
  for (size_t i = 0; i < lifetimes.size(); ++i) {
    EXPECT_EQ(plan.offsets[i] % kAlignment, 0);
    EXPECT_GE(plan.offsets[i], 0);
    EXPECT_LE(plan.offsets[i] + lifetimes[i].bytes, plan.bytes);
    for (size_t j = 0; j < i; ++j) {
      const bool meet =
          lifetimes[i].first <= lifetimes[j].last && lifetimes[j].first <= lifetimes[i].last;
      const bool overlap = plan.offsets[i] < plan.offsets[j] + lifetimes[j].bytes &&
                           plan.offsets[j] < plan.offsets[i] + lifetimes[i].bytes;
      EXPECT_FALSE(meet && overlap) << "buffers " << j << " and " << i;
    }
  }
}

TEST(MemoryPlan, LiveBuffersNeverOverlapInRandomPrograms) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<Lifetime> lifetimes(1 + random() % 60);
    for (Lifetime& l : lifetimes) {
      l.bytes = static_cast<int64_t>(random() % 5000);
      l.first = static_cast<int>(random() % 30);
      l.last = l.first + static_cast<int>(random() % 10);
    }
    ExpectApart(lifetimes, AssignOffsets(lifetimes, kAlignment));
  }
}

TEST(MemoryPlan, NeedsNoMoreThanTheBusiestStepWhereThatIsPossible) {
  // A chain: each buffer lives in two steps.
  std::vector<Lifetime> chain;
  for (int i = 0; i < 20; ++i) chain.push_back({6400, i, i + 1});
  EXPECT_EQ(AssignOffsets(chain, kAlignment).bytes, 2 * 6400);
}

TEST(MemoryPlan, UsesTheSmallestGapThatFits) {
  // 640 and 320 free places between long-lived buffers; a buffer of 300 goes into the smaller one.
  const std::vector<Lifetime> lifetimes = {{1280, 0, 9}, {640, 0, 4},  {1280, 0, 9},
                                           {320, 0, 4},  {1280, 0, 9}, {300, 5, 9}};
  const MemoryPlan plan = AssignOffsets(lifetimes, kAlignment);
  ExpectApart(lifetimes, plan);
  EXPECT_EQ(plan.bytes, 3 * 1280 + 640 + 320);
}

struct TestPlace {
  bool of_a_buffer;
  int64_t at;
  bool transient() const { return of_a_buffer; }
};
struct TestStep {
  std::vector<TestPlace> uses;
};

TEST(MemoryPlan, BuffersLiveFromTheirFirstUseToTheirLast) {
  const std::vector<int64_t> sizes = {10, 20, 30};
  const std::vector<TestStep> steps = {
      {{{true, 1}}}, {{{false, 0}, {true, 0}}}, {}, {{{true, 1}, {false, 2}}}};
  const std::vector<Lifetime> lifetimes = LifetimesOf(sizes, steps);
  ASSERT_EQ(lifetimes.size(), 3u);
  EXPECT_EQ(lifetimes[0].first, 1);
  EXPECT_EQ(lifetimes[0].last, 1);
  EXPECT_EQ(lifetimes[1].first, 0);
  EXPECT_EQ(lifetimes[1].last, 3);
  EXPECT_EQ(lifetimes[2].bytes, 30);
  EXPECT_GT(lifetimes[2].first, lifetimes[2].last);  // unused
}

TEST(MemoryPlan, HashesOfOtherNamesOrOffsetsDiffer) {
  const std::vector<std::string> names = {"conv", "relu"}, others = {"conv", "pool"};
  const std::string hash = HashOf(names, {{0, 64}, 128});
  EXPECT_EQ(hash.size(), 16u);
  EXPECT_EQ(hash, HashOf(names, {{0, 64}, 128}));
  EXPECT_NE(hash, HashOf(others, {{0, 64}, 128}));
  EXPECT_NE(hash, HashOf(names, {{0, 128}, 192}));
}

}  // namespace
}  // namespace trainyard::kernels
