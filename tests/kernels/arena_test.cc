// No two buffers that live at the same time share a byte, and memory is used again once it is free.
#include "kernels/cpu/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/backend.h"

namespace trainyard::kernels::cpu {
namespace {

void ExpectApart(const std::vector<Lifetime>& lifetimes, const ArenaPlan& plan) {
  ASSERT_EQ(plan.offsets.size(), lifetimes.size());
  for (size_t i = 0; i < lifetimes.size(); ++i) {
    EXPECT_EQ(plan.offsets[i] % 64, 0);
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

TEST(Arena, LiveBuffersNeverOverlapInRandomPrograms) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<Lifetime> lifetimes(1 + random() % 60);
    for (Lifetime& l : lifetimes) {
      l.bytes = static_cast<int64_t>(random() % 5000);
      l.first = static_cast<int>(random() % 30);
      l.last = l.first + static_cast<int>(random() % 10);
    }
    ExpectApart(lifetimes, AssignOffsets(lifetimes));
  }
}

TEST(Arena, NeedsNoMoreThanTheBusiestStepWhereThatIsPossible) {
  // A chain: each buffer lives in two steps.
  std::vector<Lifetime> chain;
  for (int i = 0; i < 20; ++i) chain.push_back({6400, i, i + 1});
  EXPECT_EQ(AssignOffsets(chain).bytes, 2 * 6400);
}

TEST(Arena, UsesTheSmallestGapThatFits) {
  // 640 and 320 free places between long-lived buffers; a buffer of 300 goes into the smaller one.
  const std::vector<Lifetime> lifetimes = {{1280, 0, 9}, {640, 0, 4},  {1280, 0, 9},
                                           {320, 0, 4},  {1280, 0, 9}, {300, 5, 9}};
  const ArenaPlan plan = AssignOffsets(lifetimes);
  ExpectApart(lifetimes, plan);
  EXPECT_EQ(plan.bytes, 3 * 1280 + 640 + 320);
}

TEST(Arena, MemoryIsZeroedAndWritable) {
  Arena arena(1 << 20);
  EXPECT_TRUE(std::all_of(arena.data(), arena.data() + (1 << 20), [](char c) { return c == 0; }));
  arena.data()[(1 << 20) - 1] = 1;
}

TEST(Arena, SaysWhenMemoryIsNotToBeHad) { EXPECT_THROW(Arena(int64_t{1} << 60), Error); }

}  // namespace
}  // namespace trainyard::kernels::cpu
