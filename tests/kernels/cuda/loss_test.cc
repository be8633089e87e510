// Loss, gradient and count of correct rows are what float64 gives, and nothing spoiled goes unseen.
#include "tests/kernels/cuda/cases/loss.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "kernels/backend.h"

namespace trainyard::kernels::cuda::testing {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename T>
class Loss : public ::testing::Test {};
using Types = ::testing::Types<float, bf16>;
TYPED_TEST_SUITE(Loss, Types);

// One row with the label given.
LossInput Row(std::vector<float> logits, int label) {
  const int classes = static_cast<int>(logits.size());
  return {1, classes, std::move(logits), {label}, {0}};
}

// All of them, or the first two where the build is slow.
std::vector<int> Widths(std::vector<int> all) {
  if (kSmallShapes && all.size() > 2) all.resize(2);
  return all;
}

TYPED_TEST(Loss, RandomShapesInAllTheirWays) {
  const int count = kSmallShapes ? 6 : 50;
  for (int i = 0; i < count; ++i) {
    Draw draw(i);
    const int most = draw.OneOf({2, 12, 40, 130, kSmallShapes ? 130 : 1100});
    LossInput input =
        DrawLossInput(draw.Between(1, kSmallShapes ? 9 : 40), draw.Between(1, most), 3, 50 + i);
    input.smoothing = draw.OneOf({0.0f, 0.1f, 0.4f});
    input.evaluation = draw.Chance(20);
    input.gradient = !draw.Chance(20);
    input.in_place = draw.Chance(50);
    EXPECT_EQ(Problem(LossCase<TypeParam>(input)), "");
  }
}

// Around every number of classes at which another kernel, or another part of one, takes over.
TYPED_TEST(Loss, EveryWidth) {
  const std::vector<int> all = {1,   2,   10,  15,  16,   17,   31,   32,   33,   127, 128,
                                129, 383, 384, 385, 1000, 1023, 1024, 1025, 1281, 3000};
  const std::vector<int> few = {10, 17, 129, 385, 1025};
  for (int classes : kSmallShapes ? few : all) {
    LossInput input = DrawLossInput(kSmallShapes ? 2 : 6, classes, 4, classes);
    input.smoothing = 0.1f;
    input.in_place = classes % 2 == 1;
    EXPECT_EQ(Problem(LossCase<TypeParam>(input)), "");
  }
}

TYPED_TEST(Loss, ManyRowsAreAllAddedUp) {
  EXPECT_EQ(Problem(LossCase<TypeParam>(DrawLossInput(kSmallShapes ? 70 : 1537, 3, 2, 1))), "");
}

TYPED_TEST(Loss, LargeLogits) {
  for (int classes : Widths({10, 200, 1500})) {
    LossInput input = DrawLossInput(5, classes, 1, classes);
    for (size_t i = 0; i < input.logits.size(); ++i) {
      input.logits[i] += static_cast<float>(i % 3) * 80 - 80;
    }
    EXPECT_EQ(Problem(LossCase<TypeParam>(input)), "");
    input.smoothing = 0.2f;
    EXPECT_EQ(Problem(LossCase<TypeParam>(input)), "");
  }
}

// Where the network is sure and right, loss and gradient are tiny, and still right.
TYPED_TEST(Loss, TinyLossesKeepTheirRelativeAccuracy) {
  for (int classes : Widths({10, 100, 2, 1200})) {
    for (float margin : {8.0f, 16.0f, 22.0f}) {
      LossInput input = DrawLossInput(4, classes, 0.5f, classes);
      for (int n = 0; n < input.batch; ++n) {
        input.logits[n * classes + input.labels[input.indices[n]]] = margin;
      }
      EXPECT_EQ(Problem(LossCase<TypeParam>(input)), "");
    }
  }
}

TYPED_TEST(Loss, TheFirstOfEqualLogitsCounts) {
  for (int label : {0, 1, 2, 3}) {
    EXPECT_EQ(Problem(LossCase<TypeParam>(Row({-1, 2, 2, 2}, label))), "");
    EXPECT_EQ(Problem(LossCase<TypeParam>(Row({-0.0f, 0.0f, -0.0f, 0.0f}, label))), "");
  }
  for (int classes : Widths({70, 75, 1100})) {  // equals in several lanes and warps
    for (int label : {3, 64}) {
      LossInput input = Row(std::vector<float>(classes, -1), label);
      for (int at : {3, 35, 64, 69}) input.logits[at] = 5;
      EXPECT_EQ(Problem(LossCase<TypeParam>(input)), "");
    }
  }
}

// In the row, the other rows stay as they are.
TYPED_TEST(Loss, NaNsAndInfinitiesAreNeverLost) {
  for (int classes : Widths({7, 50, 1, 1300})) {
    for (float spoiler : {kNaN, kInfinity}) {
      for (int at : {0, classes / 2, classes - 1}) {
        LossInput input = DrawLossInput(5, classes, 1, classes);
        input.logits[2 * classes + at] = spoiler;
        EXPECT_EQ(Problem(LossCase<TypeParam>(input)), "") << spoiler << " at " << at;
        input.labels[input.indices[2]] = at;  // its own class: correct only if it is a number
        EXPECT_EQ(Problem(LossCase<TypeParam>(input)), "") << spoiler << " at " << at;
      }
    }
  }
  for (int label : {0, 1, 2}) {  // not even the largest number of a row with a NaN is correct
    EXPECT_EQ(Problem(LossCase<TypeParam>(Row({1, kNaN, 0}, label))), "");
  }
  EXPECT_EQ(Problem(LossCase<TypeParam>(Row(std::vector<float>(5, kNaN), 0))), "");
  EXPECT_EQ(Problem(LossCase<TypeParam>(Row(std::vector<float>(5, -kInfinity), 0))), "");
}

TYPED_TEST(Loss, LabelsThatAreNoClassesGiveNaN) {
  for (int label : {-1, 6, 1 << 30, std::numeric_limits<int>::min()}) {
    LossInput input = DrawLossInput(5, 6, 1, 1);
    input.labels[input.indices[3]] = label;
    EXPECT_EQ(Problem(LossCase<TypeParam>(input)), "") << label;
  }
}

TYPED_TEST(Loss, RefusesWhatItCannotDo) {
  const auto refuses = [](int batch, int classes, int offset, const char* words) {
    const auto workspace = Allocate<uint8_t>(64);
    EXPECT_THAT(
        [&] {
          SoftmaxCrossEntropy<TypeParam>(batch, classes, nullptr, nullptr, nullptr, nullptr,
                                         workspace->data() + offset, nullptr, nullptr, nullptr);
        },
        ::testing::ThrowsMessage<kernels::Error>(::testing::HasSubstr(words)));
  };
  refuses(0, 10, 0, "SoftmaxCrossEntropy: batch = 0, expected at least 1");
  refuses(4, 0, 0, "SoftmaxCrossEntropy: classes = 0, expected at least 1");
  refuses(-1, -1, 0, "SoftmaxCrossEntropy: batch = -1, expected at least 1");
  refuses(4, 10, 4, "SoftmaxCrossEntropy: workspace is not aligned to 16 bytes");
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
