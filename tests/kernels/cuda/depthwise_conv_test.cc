#include "tests/kernels/cuda/cases/depthwise_conv.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/kernels/cuda/cases/conv_shapes.h"
#include "tests/kernels/cuda/support/refusal.h"

namespace trainyard::kernels::cuda::testing {
namespace {

template <typename T>
class Depthwise : public ::testing::Test {
 protected:
  // Every direction of one shape; the seed says which options.
  void ExpectRight(const ConvShape& shape, uint64_t seed) {
    ASSERT_TRUE(DepthwiseTakes(shape)) << Describe(shape);
    const Activation activation{seed % 3 != 0, seed % 3 == 1 ? 0.25f : 0};
    EXPECT_EQ(Problem(DepthwiseForwardCase<T>(shape, seed % 2 == 0, activation, seed)), "");
    EXPECT_EQ(Problem(DepthwiseBackwardDataCase<T>(shape, seed % 2 == 1, seed)), "");
    EXPECT_EQ(Problem(DepthwiseBackwardFilterCase<T>(shape, seed)), "");
  }
};
using Types = ::testing::Types<float, bf16>;
TYPED_TEST_SUITE(Depthwise, Types);

constexpr int kSideMax = kSmallShapes ? 5 : 13;
constexpr int kShapes = kSmallShapes ? 2 : 16;

TYPED_TEST(Depthwise, WindowsOfThreeOnWholeVectors) {
  for (int seed = 1; seed <= kShapes; ++seed) {
    Draw draw(seed);
    ConvShape shape = DrawWindows(draw, 3, kSideMax);
    shape.kernel_h = shape.kernel_w = 3;
    shape.stride_h = shape.stride_w = 1 + seed % 2;
    shape.pad_top = draw.Between(0, 2), shape.pad_left = draw.Between(0, 2);
    SetOutput(shape, draw.Between(0, 2), draw.Between(0, 2));
    shape.in_c = shape.out_c = shape.groups = 8 * draw.Between(1, kSmallShapes ? 2 : 5);
    this->ExpectRight(shape, seed);
  }
}

TYPED_TEST(Depthwise, AnyWindowOnWholeVectors) {
  for (int seed = 101; seed <= 100 + kShapes; ++seed) {
    Draw draw(seed);
    ConvShape shape = DrawWindows(draw, kSmallShapes ? 3 : 7, kSideMax);
    shape.in_c = shape.out_c = shape.groups = 8 * draw.Between(1, 3);
    this->ExpectRight(shape, seed);
  }
}

TYPED_TEST(Depthwise, AnyChannelsAndMultipliers) {
  for (int seed = 201; seed <= 200 + kShapes; ++seed) {
    Draw draw(seed);
    ConvShape shape = DrawWindows(draw, kSmallShapes ? 3 : 7, kSideMax);
    shape.in_c = shape.groups = draw.Between(2, kSmallShapes ? 6 : 23);
    shape.out_c = shape.in_c * draw.Between(1, 3);
    this->ExpectRight(shape, seed);
  }
}

TYPED_TEST(Depthwise, MoreChannelsThanABlockTakes) {
  ConvShape shape = SameWindows(1, kSmallShapes ? 1 : 3, 136, 136, 3, 1);
  shape.groups = 136;
  this->ExpectRight(shape, 1);
  if (kSmallShapes) return;
  shape = SameWindows(1, 4, 33, 99, 3, 1);
  shape.groups = 33;
  this->ExpectRight(shape, 2);
}

TYPED_TEST(Depthwise, MoreRowsThanOnePassAndOnePiece) {
  if (kSmallShapes) return;
  ConvShape shape = SameWindows(3, 35, 8, 8, 3, 1);
  shape.groups = 8;
  this->ExpectRight(shape, 3);
  shape = SameWindows(2, 41, 6, 6, 2, 2);
  shape.groups = 6;
  this->ExpectRight(shape, 4);
}

TYPED_TEST(Depthwise, TheMostWeightsThatFit) {
  if (kSmallShapes) return;
  ConvShape shape = SameWindows(1, 5, 8, 8, 32, 1);
  shape.groups = 8;
  this->ExpectRight(shape, 5);
  shape = SameWindows(1, 3, 2, 226, 3, 2);
  shape.groups = 2;
  this->ExpectRight(shape, 6);
}

TYPED_TEST(Depthwise, StridesBeyondTheWindowAndTheImage) {
  ConvShape shape;
  shape.batch = 2, shape.in_h = 9, shape.in_w = 5;
  shape.in_c = shape.out_c = shape.groups = 8;
  shape.kernel_h = 2, shape.kernel_w = 1, shape.stride_h = 4, shape.stride_w = 1 << 30;
  SetOutput(shape, 0, 0);
  this->ExpectRight(shape, 7);
}

// sum(dy conv(x, w)) == sum(dx x) == sum(dw w).
TEST(DepthwiseAdjoint, TheThreeDirectionsAgree) {
  Draw draw(9);
  ConvShape shape = SameWindows(2, 6, 12, 12, 3, 2);
  shape.groups = 12;
  const auto x = draw.Normal(shape.in_size()), w = draw.Normal(shape.weights());
  const auto dy = draw.Normal(shape.out_size());
  const auto in = Upload(x), weights = Upload(w), gradient = Upload(dy);
  const auto y = Allocate<float>(shape.out_size()), dx = Allocate<float>(shape.in_size());
  const auto dw = Allocate<float>(shape.weights());
  const auto workspace = Allocate<float>(DepthwiseBackwardFilterWorkspace(shape));
  DepthwiseForward<float>(shape, in->data(), weights->data(), nullptr, {}, y->data(), nullptr);
  DepthwiseBackwardData(shape, gradient->data(), weights->data(), false, dx->data(), nullptr);
  DepthwiseBackwardFilter(shape, in->data(), gradient->data(), workspace->data(), dw->data(),
                          nullptr);
  const auto product = [](const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
    return sum;
  };
  const double forward = product(dy, y->Read());
  EXPECT_NEAR(product(dx->Read(), x), forward, 1e-4);
  EXPECT_NEAR(product(dw->Read(), w), forward, 1e-4);
}

TEST(DepthwiseNan, IsNotLostInAnActivation) {
  ConvShape shape = SameWindows(1, 1, 8, 8, 1, 1);
  shape.groups = 8;
  const auto x = Upload(std::vector<float>(8, NAN)), w = Upload(std::vector<float>(8, 1));
  const auto y = Allocate<float>(8);
  y->Write(std::vector<float>(8, 0));
  DepthwiseForward<float>(shape, x->data(), w->data(), nullptr, {true, 0}, y->data(), nullptr);
  for (float value : y->Read()) EXPECT_TRUE(std::isnan(value));
}

std::string ForwardRefusal(const ConvShape& shape, int misaligned = 0) {
  const auto memory = Allocate<float>(4096);
  float* data = memory->data();
  return Refusal(
      [&] { DepthwiseForward<float>(shape, data + misaligned, data, nullptr, {}, data, nullptr); });
}

TEST(DepthwiseRefusal, NamesWhatItFound) {
  ConvShape shape = SameWindows(1, 4, 8, 8, 3, 1);
  shape.groups = 8;
  EXPECT_EQ(ForwardRefusal(shape, 1), "DepthwiseForward: x is not aligned to 16 bytes");
  shape.groups = 4;
  EXPECT_FALSE(DepthwiseTakes(shape));
  EXPECT_EQ(ForwardRefusal(shape),
            "DepthwiseForward: 4 groups of 8 channels with 18 weights for each, expected as many "
            "groups as channels, more than one, and at most 1024 weights");
  shape.groups = 8, shape.kernel_h = 33, shape.kernel_w = 32;
  EXPECT_FALSE(DepthwiseTakes(shape));
  EXPECT_NE(ForwardRefusal(shape).find("1056 weights"), std::string::npos);
  shape = SameWindows(1, 4, 1, 1, 3, 1);
  EXPECT_FALSE(DepthwiseTakes(shape));
  EXPECT_NE(ForwardRefusal(shape).find("1 groups of 1 channels"), std::string::npos);
  shape.batch = 0;
  EXPECT_EQ(ForwardRefusal(shape), "DepthwiseForward: batch = 0, expected at least 1");
  shape.batch = 1, shape.pad_top = 3;
  EXPECT_EQ(ForwardRefusal(shape), "DepthwiseForward: padding along height is 3, expected 0 to 2");
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
