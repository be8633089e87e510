// Activations, additions, biases and changes of type give what plain loops give, whatever the
// count, in place too, and in an order of sums that no schedule changes.
#include "tests/kernels/cuda/cases/elementwise.h"

#include <gtest/gtest.h>

#include "tests/kernels/cuda/support/refusal.h"

namespace trainyard::kernels::cuda::testing {
namespace {

constexpr Activation kOff{}, kRelu{true, 0}, kLeaky{true, 0.125f};

template <typename T>
class Elementwise : public ::testing::Test {};
using Types = ::testing::Types<float, bf16>;
TYPED_TEST_SUITE(Elementwise, Types);

Activation AnyActivation(Draw& draw) { return draw.OneOf({kOff, kRelu, kLeaky}); }

// Around a vector, a batch of vectors and a block.
int64_t AnyCount(Draw& draw) {
  return draw.OneOf({draw.Between(1, 40), draw.Between(1000, 2100), draw.Between(4090, 4100),
                     draw.Between(8180, 8200), draw.Between(9000, 20000)});
}

TYPED_TEST(Elementwise, ActivationsOfAnyCount) {
  Draw draw(1);
  for (int i = 0; i < (kSmallShapes ? 4 : 16); ++i) {
    const int64_t count = AnyCount(draw);
    const bool in_place = draw.Chance(50);
    EXPECT_EQ(Problem(ActivationForwardCase<TypeParam>(count, AnyActivation(draw), in_place, i)),
              "");
    EXPECT_EQ(Problem(ActivationBackwardCase<TypeParam>(count, AnyActivation(draw), draw.Chance(50),
                                                        draw.Chance(50), i)),
              "");
  }
}

TYPED_TEST(Elementwise, EveryGradientOfAnActivation) {
  for (const Activation activation : {kOff, kRelu, kLeaky}) {
    for (const bool accumulate : {false, true}) {
      for (const bool in_place : {false, true}) {
        EXPECT_EQ(Problem(ActivationBackwardCase<TypeParam>(kSmallShapes ? 1030 : 8200, activation,
                                                            accumulate, in_place, 2)),
                  "");
      }
    }
  }
}

TYPED_TEST(Elementwise, AdditionsOfAnyCount) {
  Draw draw(3);
  for (int i = 0; i < (kSmallShapes ? 4 : 12); ++i) {
    const int64_t count = AnyCount(draw);
    const bool in_place = draw.Chance(50);
    EXPECT_EQ(Problem(AddForwardCase<TypeParam>(count, AnyActivation(draw), in_place, i)), "");
  }
}

TYPED_TEST(Elementwise, BiasesOfEveryChannelCount) {
  Draw draw(4);
  for (int channels = 3; channels <= 70; channels += kSmallShapes ? 34 : 3) {
    const int64_t rows = draw.OneOf({1, 2, 3, 127, draw.Between(1, 300)});
    const bool in_place = draw.Chance(50);
    EXPECT_EQ(Problem(BiasForwardCase<TypeParam>(rows, channels, AnyActivation(draw), in_place,
                                                 channels)),
              "");
    const BiasGradient where =
        draw.OneOf({BiasGradient::kNowhere, BiasGradient::kApart, BiasGradient::kInPlace});
    EXPECT_EQ(
        Problem(BiasBackwardCase<TypeParam>(rows, channels, AnyActivation(draw), where, channels)),
        "");
  }
}

TYPED_TEST(Elementwise, BiasesOfManyRowsOrChannels) {
  struct Shape {
    int64_t rows;
    int channels;
  };
  const std::vector<Shape> shapes =
      kSmallShapes ? std::vector<Shape>{{300, 31}, {40, 65}}
                   : std::vector<Shape>{{9001, 1},  {1001, 3},  {3001, 16}, {1023, 70},
                                        {127, 128}, {300, 257}, {2, 1030}};
  for (const Shape& shape : shapes) {
    for (const BiasGradient where : {BiasGradient::kApart, BiasGradient::kInPlace}) {
      const Activation activation = where == BiasGradient::kApart ? kOff : kLeaky;
      EXPECT_EQ(
          Problem(BiasBackwardCase<TypeParam>(shape.rows, shape.channels, activation, where, 5)),
          "");
    }
    EXPECT_EQ(Problem(BiasForwardCase<TypeParam>(shape.rows, shape.channels, kRelu, false, 6)), "");
  }
}

TEST(ElementwiseNumbers, WidenedAsTheyAreWhateverTheCount) {
  Draw draw(7);
  for (const int count : {1, 3, 4, draw.Between(5, 40), draw.Between(1020, 1030),
                          draw.Between(2000, 5000)}) {
    EXPECT_EQ(Problem(WidenBf16Case(count, 8)), "");
  }
}

TEST(ElementwiseNumbers, NanGoesThrough) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Shared<float> x = Upload<float>({nan, 1, -1, 2, nan}), y = Allocate<float>(5);
  const Shared<float> bias = Upload<float>({0, nan, 0, 0, 0}), workspace = Allocate<float>(64);
  ActivationForward(x->data(), kRelu, 5, y->data(), nullptr);
  EXPECT_TRUE(std::isnan(y->Read()[0]) && std::isnan(y->Read()[4])) << "the vector and the tail";
  AddForward(x->data(), x->data(), kRelu, 5, y->data(), nullptr);
  EXPECT_TRUE(std::isnan(y->Read()[0]));
  BiasForward(x->data(), bias->data(), kRelu, 1, 5, y->data(), nullptr);
  EXPECT_TRUE(std::isnan(y->Read()[1]));
  EXPECT_EQ(y->Read()[3], 2);
  ASSERT_LE(BiasBackwardWorkspace(1, 5), workspace->count());
  BiasBackward<float>(nullptr, x->data(), kOff, 1, 5, nullptr, workspace->data(), y->data(),
                      nullptr);
  EXPECT_TRUE(std::isnan(y->Read()[0]) && !std::isnan(y->Read()[1]));
}

TEST(ElementwiseRefusals, SayWhatWasFound) {
  const Shared<float> array = Allocate<float>(64);
  float *const a = array->data(), *const off = a + 1;
  EXPECT_EQ(Refusal([&] { ActivationForward(a, kRelu, 0, a, nullptr); }).substr(0, 41),
            "ActivationForward: 0 elements, expected 1");
  EXPECT_EQ(Refusal([&] { AddForward(a, off, kRelu, 4, a, nullptr); }),
            "AddForward: an input is not aligned to 16 bytes");
  EXPECT_EQ(Refusal([&] { ActivationBackward(a, a, kRelu, false, 4, off, nullptr); }),
            "ActivationBackward: the output is not aligned to 16 bytes");
  EXPECT_EQ(Refusal([&] { ActivationBackward<float>(nullptr, a, kRelu, false, 4, a, nullptr); }),
            "ActivationBackward: y is null, expected the output of the activation");
  EXPECT_EQ(Refusal([&] {
              ActivationForward(a, {true, -0.5f}, 4, a, nullptr);
            }),
            "ActivationForward: slope -0.500000, expected at least 0 and below 1");
  auto* const narrow = reinterpret_cast<bf16*>(a);
  EXPECT_EQ(Refusal([&] { WidenBf16(narrow, -1, a, nullptr); }).substr(0, 35),
            "WidenBf16: -1 elements, expected 1 ");
  EXPECT_EQ(Refusal([&] { WidenBf16(narrow + 1, 4, a, nullptr); }),
            "WidenBf16: x is not aligned to 16 bytes");
  EXPECT_EQ(Refusal([&] { WidenBf16(narrow, 4, off, nullptr); }),
            "WidenBf16: y is not aligned to 16 bytes");
  EXPECT_EQ(Refusal([&] { BiasForward(a, a, kRelu, 4, 0, a, nullptr); }),
            "BiasForward: 0 channels, expected 1 to 16777216");
  EXPECT_EQ(Refusal([&] { BiasForward(a, a, kRelu, 0, 1, a, nullptr); }),
            "BiasForward: 0 rows, expected 1 to 1099511627776");
  EXPECT_EQ(Refusal([&] { BiasBackward(off, a, kRelu, 1, 1, a, a, a, nullptr); }),
            "BiasBackward: y is not aligned to 16 bytes");
  EXPECT_EQ(Refusal([&] { BiasBackward(a, a, kRelu, 1, 1, a, off, a, nullptr); }),
            "BiasBackward: the workspace is not aligned to 16 bytes");
  EXPECT_EQ(Refusal([&] { BiasBackward<float>(nullptr, a, kRelu, 1, 1, a, a, a, nullptr); }),
            "BiasBackward: y is null, expected the output of the activation");
  EXPECT_EQ(Refusal([&] { BiasBackwardWorkspace(-1, 1); }),
            "BiasBackward: -1 rows, expected 1 to 1099511627776");
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
