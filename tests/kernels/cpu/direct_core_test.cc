// Products over taps, dense and in groups, where they are cut in ways of their own;
// every_core_test.cc has random shapes.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/conv_core.h"
#include "tests/kernels/cpu/conv_case.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu::testing {
namespace {

void CheckAgainstDouble(const ConvCase& conv, std::mt19937& random) {
  const ConvSample sample(conv, random());
  const auto core = MakeDirectCore(sample.geometry());
  ExpectClose(Computed(sample, *core, RandomPacks(conv.images, core->pack(), random)),
              Expected(sample));
}

class DirectCoreOnTarget : public SimdTest {};

// Groups narrower and wider than a panel of 16, that end within panels and at their ends.
TEST_P(DirectCoreOnTarget, IsTheConvolutionInGroups) {
  std::mt19937 random(2);
  for (int groups : {2, 3, 4, 5, 7, 8, 11, 16, 24}) {
    for (int round = 0; round < 4; ++round) {
      SCOPED_TRACE(::testing::Message() << groups << " groups, round " << round);
      const ConvLimits limits{
          .channels = 70, .filters = 70, .size = 9, .kernel = 4, .images = 3, .groups = groups};
      ConvCase conv = RandomConvCase(limits, random);
      if (conv.in.channels == groups) conv.filters = 2 * groups;  // else it is depthwise
      CheckAgainstDouble(conv, random);
    }
  }
}

TEST_P(DirectCoreOnTarget, TakesAllPixelsOfAPackAtOnceWhereTheyLieAlike) {
  std::mt19937 random(3);
  ConvCase conv{.in = {24, 5, 6}, .filters = 40, .images = 64};
  CheckAgainstDouble(conv, random);
  conv.op.pad_top = conv.op.pad_right = 1;  // zeros are pixels too
  CheckAgainstDouble(conv, random);
  conv.in = {8, 30, 31};  // more than a band
  conv.images = 2;
  CheckAgainstDouble(conv, random);
}

TRAINYARD_FOR_SIMD_TARGETS(DirectCoreOnTarget);

TEST(DirectCore, CutsWeightsThatAreLargerThanCaches) {
  std::mt19937 random(4);
  ConvCase conv{.in = {300, 4, 5}, .filters = 150, .images = 32};
  conv.op.kernel_h = conv.op.kernel_w = 3;
  conv.op.stride_h = conv.op.stride_w = 2;
  conv.op.pad_top = conv.op.pad_left = conv.op.pad_bottom = conv.op.pad_right = 1;
  const ConvSample sample(conv, 5);
  EXPECT_GT(MakeDirectCore(sample.geometry())->pack(), 1);
  CheckAgainstDouble(conv, random);
}

TEST(DirectCore, WeightGradientNeedsNoDataGradient) {
  std::mt19937 random(7);
  const ConvSample sample(RandomConvCase({}, random), 8);
  const auto core = MakeDirectCore(sample.geometry());
  const std::vector<int> packs(sample.geometry().batch, 1);
  ExpectClose(Computed(sample, *core, packs, false), Expected(sample), false);
}

TEST(DirectCore, RefusesWhatItCannotComputeByName) {
  const auto refuses = [](const ConvCase& conv, const std::string& found) {
    const ConvSample sample(conv, 9);
    try {
      MakeDirectCore(sample.geometry());
      FAIL() << "made a core";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()),
                "layers.1: found " + found +
                    ", a direct one expects channels last and more channels to a group");
    }
  };
  refuses({.in = {3, 4, 4}, .plain_input = true}, "a plain input");
  ConvCase depthwise{.in = {4, 4, 4}, .filters = 4};
  depthwise.op.groups = 4;
  refuses(depthwise, "a depthwise convolution");
}

}  // namespace
}  // namespace trainyard::kernels::cpu::testing
