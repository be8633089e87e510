#include "tests/kernels/cuda/cases/dropout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/philox.h"
#include "tests/kernels/cuda/support/refusal.h"

namespace trainyard::kernels::cuda::testing {
namespace {

template <typename T>
class DropoutMask : public ::testing::Test {};
using Types = ::testing::Types<float, bf16>;
TYPED_TEST_SUITE(DropoutMask, Types);

constexpr int kShapes = kSmallShapes ? 8 : 40;

float Rate(Draw& draw) { return draw.OneOf({0.0f, 0.1f, 0.25f, 0.5f, 0.9f}); }

TYPED_TEST(DropoutMask, IsPhiloxInCanonicalOrderForAnyShape) {
  for (int seed = 0; seed < kShapes; ++seed) {
    Draw draw(seed);
    const DropoutCaseShape shape{draw.Between(1, 5),
                                 draw.Between(1, kSmallShapes ? 12 : 40),
                                 draw.OneOf({1, 2, 3, 4, 5, 7, 8, 12, 16, 24}),
                                 Rate(draw),
                                 draw.Chance(30),
                                 draw.Chance(30)};
    EXPECT_EQ(Problem(DropoutCase<TypeParam>(shape, seed)), "");
  }
}

// Every remainder of an element by four, in planes where each channel starts at another one.
TYPED_TEST(DropoutMask, HoldsWhereGroupsStraddlePlanes) {
  for (int pixels : {2, 3, 4, 5, 6, 7, 9, 13}) {
    for (int channels : {3, 8}) {
      EXPECT_EQ(Problem(DropoutCase<TypeParam>({3, pixels, channels}, pixels)), "");
    }
  }
}

TYPED_TEST(DropoutMask, HoldsAfterLinearLayersAndForOneChannel) {
  for (int seed = 0; seed < kShapes; ++seed) {
    Draw draw(seed);
    const int length = draw.Between(1, 70), batch = draw.Between(1, 9);
    DropoutCaseShape shape{batch, 1, length, Rate(draw), draw.Chance(30), draw.Chance(30)};
    if (draw.Chance(30)) std::swap(shape.pixels, shape.channels);
    EXPECT_EQ(Problem(DropoutCase<TypeParam>(shape, seed)), "");
  }
}

TYPED_TEST(DropoutMask, HoldsOverManyBlocksAndALastOneThatIsPartial) {
  if (kSmallShapes) return;
  EXPECT_EQ(Problem(DropoutCase<TypeParam>({5, 196, 24}, 1)), "");
  EXPECT_EQ(Problem(DropoutCase<TypeParam>({9, 1, 1001}, 2)), "");
}

// The threads of a step replayed see the new seed, step and rate: they come from device memory.
TEST(Dropout, ReadsTheStepFromDeviceMemory) {
  const std::vector<float> ones(64, 1.0f);
  const Shared<float> x = Upload(ones), y = Allocate<float>(64);
  const Shared<StepBlock> step = Upload(std::vector<StepBlock>(1));
  const Shared<DropoutRate> rate = Upload(std::vector<DropoutRate>(1));
  for (int64_t at : {int64_t{5}, int64_t{6}, (int64_t{1} << 47) + 6}) {
    StepBlock block;
    block.seed = 99;
    block.step = at;
    step->Write({block});
    const DropoutRate half{DropoutThreshold(0.5f), static_cast<float>(at % 7)};
    rate->Write({half});
    Dropout(1, 1, 64, x->data(), step->data(), 3, rate->data(), false, y->data(), nullptr);
    const std::vector<float> found = y->Read();
    for (int i = 0; i < 64; ++i) {
      const bool keep = RandomWord(DropoutStream(99, at, 3), i) >= half.threshold;
      EXPECT_EQ(found[i], keep ? half.scale : 0) << "step " << at << ", element " << i;
    }
  }
}

TEST(Dropout, KeepsNaNAndInfinityFromGettingLost) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> values(32, std::numeric_limits<float>::quiet_NaN());
  for (int i = 0; i < 32; i += 2) values[i] = inf;
  const Shared<float> x = Upload(values), y = Allocate<float>(32);
  const Shared<StepBlock> step = Upload(std::vector<StepBlock>(1));
  const Shared<DropoutRate> rate = Upload(std::vector<DropoutRate>{{DropoutThreshold(0.5f), 2}});
  Dropout(1, 4, 8, x->data(), step->data(), 0, rate->data(), false, y->data(), nullptr);
  for (float value : y->Read()) EXPECT_FALSE(std::isfinite(value));
}

std::string DropoutRefusal(int batch, int pixels, int channels, const float* x) {
  return Refusal([&] {
    Dropout<float>(batch, pixels, channels, x, nullptr, 0, nullptr, false, nullptr, nullptr);
  });
}

TEST(Dropout, RefusesTensorsThatAreEmptyOrTooLarge) {
  EXPECT_EQ(DropoutRefusal(0, 4, 8, nullptr), "Dropout: batch = 0, expected at least 1");
  EXPECT_EQ(DropoutRefusal(2, -4, 8, nullptr), "Dropout: pixels = -4, expected at least 1");
  EXPECT_EQ(DropoutRefusal(2, 4, -8, nullptr), "Dropout: channels = -8, expected at least 1");
  EXPECT_EQ(DropoutRefusal(1 << 20, 1 << 6, 1 << 5, nullptr),
            "Dropout: x has 2147483648 elements, expected 1 to 2147483647");
}

TEST(Dropout, RefusesPointersThatAreNotAligned) {
  const DeviceArray<float> x(5);
  EXPECT_EQ(DropoutRefusal(1, 1, 4, x.data() + 1), "Dropout: x is not aligned to 16 bytes");
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
