#include "tests/kernels/cuda/cases/first_conv.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/kernels/cuda/cases/conv_shapes.h"
#include "tests/kernels/cuda/support/refusal.h"

namespace trainyard::kernels::cuda::testing {
namespace {

template <typename T>
class FirstConv : public ::testing::Test {
 protected:
  // Both directions of one shape; the seed says which options.
  void ExpectRight(const ConvShape& shape, uint64_t seed) {
    ASSERT_TRUE(FirstConvTakes(shape)) << Describe(shape);
    const Activation activation{seed % 3 != 0, seed % 3 == 1 ? 0.25f : 0};
    EXPECT_EQ(Problem(FirstConvForwardCase<T>(shape, seed % 2 == 0, activation, seed)), "");
    EXPECT_EQ(Problem(FirstConvBackwardFilterCase<T>(shape, seed)), "");
  }
};
using Types = ::testing::Types<float, bf16>;
TYPED_TEST_SUITE(FirstConv, Types);

TYPED_TEST(FirstConv, AnyWindowsChannelsAndFilters) {
  for (int seed = 1; seed <= (kSmallShapes ? 2 : 12); ++seed) {
    Draw draw(seed);
    ConvShape shape;
    do {
      shape = DrawWindows(draw, kSmallShapes ? 3 : 7, kSmallShapes ? 5 : 11);
      shape.in_c = draw.Between(1, 4);
    } while (shape.depth() > 256);
    shape.out_c = draw.Between(1, kSmallShapes ? 20 : 70);
    this->ExpectRight(shape, seed);
  }
}

TYPED_TEST(FirstConv, WholeVectorsOfFilters) {
  for (int seed = 101; seed <= (kSmallShapes ? 101 : 108); ++seed) {
    Draw draw(seed);
    ConvShape shape = DrawWindows(draw, 3, kSmallShapes ? 5 : 14);
    shape.in_c = draw.Between(1, 4);
    shape.out_c = 8 * draw.Between(1, kSmallShapes ? 2 : 9);
    this->ExpectRight(shape, seed);
  }
}

// One chunk of the depth for eight ways of pixels, up to eight chunks for one.
TYPED_TEST(FirstConv, EveryDepth) {
  for (int kernel : {1, 3, 4, 5, 6, 7, 8}) {
    if (kSmallShapes && kernel != 4) continue;
    this->ExpectRight(SameWindows(1, kSmallShapes ? 4 : 6, kernel == 6 ? 3 : 4, 11, kernel, 1),
                      kernel);
  }
}

TYPED_TEST(FirstConv, ImagesThatAreNotWholeTiles) {
  if (kSmallShapes) return;
  ConvShape shape = SameWindows(1, 37, 1, 8, 3, 1);
  this->ExpectRight(shape, 1);
  shape = SameWindows(1, 66, 3, 8, 3, 2);
  shape.in_h = 5, shape.out_h = 3;
  this->ExpectRight(shape, 2);
  this->ExpectRight(SameWindows(3, 1, 3, 40, 3, 1), 3);
}

TYPED_TEST(FirstConv, SeveralTilesInABlock) {
  this->ExpectRight(SameWindows(11, 2, 1, 9, 2, 1), 4);
  if (kSmallShapes) return;
  this->ExpectRight(SameWindows(6, 5, 3, 70, 3, 1), 5);
}

TYPED_TEST(FirstConv, WindowsFarApartMakeSmallerTiles) {
  ConvShape shape;
  shape.batch = 1, shape.in_c = 2, shape.out_c = 5;
  shape.in_h = kSmallShapes ? 40 : 300, shape.in_w = kSmallShapes ? 200 : 400;
  shape.kernel_h = 2, shape.kernel_w = 3;
  shape.stride_h = 39, shape.stride_w = 57;
  SetOutput(shape, 0, 0);
  this->ExpectRight(shape, 6);
  shape.in_h = 2, shape.in_w = 9, shape.stride_h = 1 << 30, shape.stride_w = 1 << 30;
  SetOutput(shape, 0, 0);
  this->ExpectRight(shape, 7);
}

// y counts only windows of the output: what they do not cover of x must not matter.
TYPED_TEST(FirstConv, PixelsThatNoWindowCoversAreNotRead) {
  ConvShape shape = SameWindows(1, 9, 1, 3, 3, 1);
  shape.pad_top = shape.pad_left = 0, shape.out_h = shape.out_w = 3;
  std::vector<float> x(81, 1);
  for (int i = 0; i < 81; ++i) {
    if (i / 9 >= 5 || i % 9 >= 5) x[i] = NAN;
  }
  const auto in = Upload(Round<TypeParam>(x));
  const auto dy = Upload(Round<TypeParam>(std::vector<float>(27, 1)));
  const auto workspace = Allocate<float>(FirstConvBackwardFilterWorkspace(shape));
  const auto dw = Allocate<float>(27);
  FirstConvBackwardFilter(shape, in->data(), dy->data(), workspace->data(), dw->data(), nullptr);
  for (float value : dw->Read()) EXPECT_EQ(value, 9);
}

// sum(dy conv(x, w)) == sum(dw w).
TEST(FirstConvAdjoint, ForwardAndBackwardFilterAgree) {
  Draw draw(9);
  const ConvShape shape = SameWindows(2, 8, 3, 18, 3, 2);
  const auto x = draw.Normal(shape.in_size()), w = draw.Normal(shape.weights());
  const auto dy = draw.Normal(shape.out_size());
  const auto in = Upload(x), weights = Upload(w), gradient = Upload(dy);
  const auto y = Allocate<float>(shape.out_size()), dw = Allocate<float>(shape.weights());
  const auto workspace = Allocate<float>(FirstConvBackwardFilterWorkspace(shape));
  FirstConvForward<float>(shape, in->data(), weights->data(), nullptr, {}, y->data(), nullptr);
  FirstConvBackwardFilter(shape, in->data(), gradient->data(), workspace->data(), dw->data(),
                          nullptr);
  const auto product = [](const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
    return sum;
  };
  EXPECT_NEAR(product(dw->Read(), w), product(dy, y->Read()), 1e-4);
}

TYPED_TEST(FirstConv, NanIsNotLostInAnActivation) {
  const ConvShape shape = SameWindows(1, 1, 1, 8, 1, 1);
  const auto x = Upload(Round<TypeParam>({NAN}));
  const auto w = Upload(Round<TypeParam>(std::vector<float>(8, 1)));
  const auto y = Upload(Round<TypeParam>(std::vector<float>(8, 0)));
  FirstConvForward<TypeParam>(shape, x->data(), w->data(), nullptr, {true, 0}, y->data(), nullptr);
  for (double value : Widen(y->Read())) EXPECT_TRUE(std::isnan(value));
}

std::string ForwardRefusal(const ConvShape& shape, int misaligned = 0) {
  const auto memory = Allocate<float>(4096);
  float* data = memory->data();
  return Refusal(
      [&] { FirstConvForward<float>(shape, data, data, nullptr, {}, data + misaligned, nullptr); });
}

TEST(FirstConvRefusal, NamesWhatItFound) {
  ConvShape shape = SameWindows(1, 4, 4, 8, 3, 1);
  EXPECT_EQ(ForwardRefusal(shape, 2), "FirstConvForward: y is not aligned to 16 bytes");
  shape.in_c = 5;
  EXPECT_FALSE(FirstConvTakes(shape));
  EXPECT_EQ(ForwardRefusal(shape),
            "FirstConvForward: 5 channels in 1 groups, 45 weights a filter, expected at most 4 "
            "channels in 1 group, and at most 256 weights");
  shape.in_c = 4, shape.groups = 4;
  EXPECT_FALSE(FirstConvTakes(shape));
  EXPECT_NE(ForwardRefusal(shape).find("4 channels in 4 groups"), std::string::npos);
  shape = SameWindows(1, 9, 4, 8, 9, 1);
  EXPECT_FALSE(FirstConvTakes(shape));
  EXPECT_NE(ForwardRefusal(shape).find("324 weights"), std::string::npos);
  shape.batch = 0;
  EXPECT_EQ(ForwardRefusal(shape), "FirstConvForward: batch = 0, expected at least 1");
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
