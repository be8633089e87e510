// The driver: a convolution of a batch with all that is fused around it, forwards and backwards,
// against the same composed of plain loops in double precision; and bytes that depend neither on
// threads nor on the instruction set.
#include "kernels/cpu/convolution.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "kernels/cpu/simd/target.h"
#include "tests/kernels/cpu/conv_case.h"
#include "tests/kernels/cpu/conv_scenario.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu::testing {
namespace {

// Of every way to compute a convolution in turn: any, of the input, in groups, depthwise,
// Winograd's, and 1x1 with a stride.
constexpr int kKinds = 6;
ConvCase RandomCase(int kind, std::mt19937& random) {
  ConvLimits limits{.channels = 24, .filters = 24, .size = 11, .kernel = 5, .images = 20};
  ConvCase conv;
  do {
    limits.plain_input = kind == 1;
    if (kind == 1) limits.channels = 4;
    if (kind == 2) limits.groups = 4;
    conv = RandomConvCase(limits, random);
    if (kind == 3) conv.op.groups = conv.filters = conv.in.channels = std::max(2, conv.filters);
    if (kind == 4) {
      conv.op.kernel_h = conv.op.kernel_w = 3;
      conv.op.stride_h = conv.op.stride_w = 1;
    }
    if (kind == 5) {
      conv.op.kernel_h = conv.op.kernel_w = 1;
      conv.op.pad_top = conv.op.pad_bottom = conv.op.pad_left = conv.op.pad_right = 0;
      conv.op.stride_h = 1 + static_cast<int>(random() % 3);
      conv.op.stride_w = 2;
    }
  } while (conv.in.height + conv.op.pad_top + conv.op.pad_bottom < conv.op.kernel_h + 3 ||
           conv.in.width + conv.op.pad_left + conv.op.pad_right < conv.op.kernel_w + 3);
  return conv;
}

// More images than a chunk takes.
ConvCase ChunksCase(std::mt19937& random) {
  ConvCase conv = RandomCase(4, random);
  conv.in.height = conv.in.width = 16 + std::uniform_int_distribution<int>(0, 4)(random);
  conv.images = 40;
  return conv;
}

TEST(Convolution, IsTheCompositionOfWhatIsFused) {
  std::mt19937 random(1);
  Draws draws(2);
  for (int round = 0; round < 120; ++round) {
    const ConvCase conv = RandomCase(round % kKinds, random);
    const Scenario scenario(conv, RandomAround(draws, conv), random());
    SCOPED_TRACE(::testing::Message()
                 << "round " << round << ", " << scenario.convolution().name());
    scenario.Check(scenario.Compute(2));
  }
}

TEST(Convolution, IsTheCompositionOfWhatIsFusedInChunksToo) {
  std::mt19937 random(6);
  Draws draws(7);
  for (int round = 0; round < 8; ++round) {
    SCOPED_TRACE(::testing::Message() << "round " << round);
    const ConvCase conv = ChunksCase(random);
    const Scenario scenario(conv, RandomAround(draws, conv), random(), true);
    scenario.Check(scenario.Compute(2));
  }
}

TEST(Convolution, IsComputedInTheWayThatFitsItsShape) {
  const auto name = [](int channels, int size, int kernel, int groups = 1, int stride = 1) {
    ConvCase conv{.in = {channels, size, size}, .filters = channels, .images = 4};
    conv.plain_input = channels <= 4;
    conv.op.groups = groups;
    conv.op.kernel_h = conv.op.kernel_w = kernel;
    conv.op.stride_h = conv.op.stride_w = stride;
    conv.op.pad_top = conv.op.pad_left = conv.op.pad_bottom = conv.op.pad_right = kernel / 2;
    const ConvSample sample(conv, 5);
    return Convolution(sample.geometry(), false).name();
  };
  EXPECT_EQ(name(3, 8, 3), "first");
  EXPECT_EQ(name(64, 8, 3), "winograd 4x4");
  EXPECT_EQ(name(512, 8, 3), "winograd 4x4 batch");  // many weights
  EXPECT_EQ(name(64, 2, 3), "winograd 4x4");
  EXPECT_EQ(name(64, 1, 3), "direct");  // one pixel of a tile of 16
  EXPECT_EQ(name(64, 8, 3, 1, 2), "direct");
  EXPECT_EQ(name(64, 8, 5), "direct");
  EXPECT_EQ(name(64, 8, 1), "direct 1x1");
  EXPECT_EQ(name(64, 8, 3, 2), "direct groups");
  EXPECT_EQ(name(64, 8, 3, 64), "depthwise");
}

// One thread and the best instruction set, against others.
void CheckSameBytes(const Scenario& scenario) {
  const Outputs one = scenario.Compute(1);
  for (int threads : {2, 3, 4, 8}) ExpectSame(one, scenario.Compute(threads));
  for (const std::string& target : TargetsOfTheBestKind()) {
    UseSimdTarget(target);
    ExpectSame(one, scenario.Compute(2));
  }
  UseSimdTarget("");
}

TEST(Convolution, BytesDependNeitherOnThreadsNorOnTheInstructionSet) {
  std::mt19937 random(3);
  Draws draws(4);
  for (int round = 0; round < 24; ++round) {
    const ConvCase conv = RandomCase(round % kKinds, random);
    const Scenario scenario(conv, RandomAround(draws, conv), random());
    SCOPED_TRACE(::testing::Message()
                 << "round " << round << ", " << scenario.convolution().name());
    CheckSameBytes(scenario);
  }
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(::testing::Message() << "in chunks, round " << round);
    const ConvCase conv = ChunksCase(random);
    CheckSameBytes(Scenario(conv, RandomAround(draws, conv), random(), true));
  }
  for (const std::string& target : CompiledSimdTargets()) {
    if (!SimdTargetRuns(target)) GTEST_SKIP() << SimdTargetMissing(target);
  }
}

TEST(Convolution, KeepsHalfAsManySumsOfLargeWeights) {
  const auto groups = [](int channels, int images) {
    ConvCase conv{.in = {channels, 8, 8}, .filters = channels, .images = images};
    conv.op.kernel_h = conv.op.kernel_w = 2;
    const ConvSample sample(conv, 5);
    const Convolution convolution(sample.geometry(), false);
    EXPECT_GE(convolution.group_floats(), convolution.groups() * convolution.core().sum_floats());
    return convolution.groups();
  };
  EXPECT_EQ(groups(16, 128), 16);
  EXPECT_EQ(groups(16, 3), 3);  // no more than there are images
  EXPECT_EQ(groups(512, 128), 8);
}

}  // namespace
}  // namespace trainyard::kernels::cpu::testing
