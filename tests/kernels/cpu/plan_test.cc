#include "kernels/cpu/plan.h"

#include <gtest/gtest.h>

#include <vector>

namespace trainyard::kernels::cpu {
namespace {

constexpr int64_t kFloat = sizeof(float);

TEST(CpuPlan, HasScratchForAsManyThreadsAsItsHungriestStepCanUse) {
  const int64_t large = 3 * kHugePage / kFloat, small = kPage / kFloat;
  Plan plan;
  EXPECT_EQ(plan.scratch_bytes(128), 0);
  plan.NeedScratch(large, 2);
  plan.NeedScratch(small, 10'000);
  EXPECT_EQ(plan.scratch_bytes(1), OwnPages(large * kFloat));
  EXPECT_EQ(plan.scratch_bytes(128), 2 * OwnPages(large * kFloat));
  EXPECT_EQ(plan.scratch_bytes(100'000), 10'000 * OwnPages(small * kFloat));
}

TEST(CpuPlan, HandsOutScratchInWholePages) {
  std::vector<float> memory(1);
  Call call;
  call.bases.scratch = memory.data();
  const ThreadScratch scratch = call.Scratch(100);
  EXPECT_EQ(scratch.base, memory.data());
  EXPECT_EQ(scratch.floats * kFloat, OwnPages(100 * kFloat));
}

std::string HashWith(const std::string& step, int64_t bytes) {
  Plan plan;
  const Place buffer = plan.AddBuffer(bytes), other = plan.AddBuffer(64);
  plan.AddStep(step, {buffer, other}, [](Call&) {});
  plan.Finish();
  return plan.Hash();
}

TEST(CpuPlan, HashTellsWhatIsComputedAndNotWhereItLies) {
  EXPECT_EQ(HashWith("a", 64), HashWith("a", 6400));
  EXPECT_NE(HashWith("a", 64), HashWith("b", 64));
}

}  // namespace
}  // namespace trainyard::kernels::cpu
