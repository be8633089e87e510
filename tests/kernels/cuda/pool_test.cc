#include "tests/kernels/cuda/cases/pool.h"

#include <gtest/gtest.h>

#include "kernels/cuda/divisor.h"
#include "tests/kernels/cuda/support/refusal.h"

namespace trainyard::kernels::cuda::testing {
namespace {

template <typename T>
class Pool : public ::testing::Test {};
using Types = ::testing::Types<float, bf16>;
TYPED_TEST_SUITE(Pool, Types);

constexpr int kShapes = kSmallShapes ? 8 : 40;

int Channels(Draw& draw) { return draw.OneOf({1, 3, 4, 5, 8, 12, 16, 24}); }

// One axis of a pool: pads before and after that differ, and maybe fewer windows than fit.
void DrawAxis(Draw& draw, int& in, int& out, int& kernel, int& stride, int& pad) {
  in = draw.Between(1, kSmallShapes ? 5 : 9);
  kernel = draw.Between(1, 4);
  stride = draw.Between(1, 3);
  pad = draw.Between(0, kernel - 1);
  const int after = draw.Between(0, kernel - 1);
  if (in + pad + after < kernel) in = kernel;
  out = (in + pad + after - kernel) / stride + 1;
  while ((out - 1) * stride - pad >= in) --out;
  if (out > 1 && draw.Chance(20)) --out;
}

PoolShape AnyShape(Draw& draw) {
  PoolShape shape;
  shape.batch = draw.Between(1, 3);
  shape.channels = Channels(draw);
  DrawAxis(draw, shape.in_h, shape.out_h, shape.kernel_h, shape.stride_h, shape.pad_top);
  DrawAxis(draw, shape.in_w, shape.out_w, shape.kernel_w, shape.stride_w, shape.pad_left);
  return shape;
}

// Windows of 2x2 side by side; odd images have a row or a column in none.
PoolShape TwoByTwo(Draw& draw) {
  PoolShape shape;
  shape.batch = draw.Between(1, 3);
  shape.channels = Channels(draw);
  shape.in_h = draw.Between(2, kSmallShapes ? 5 : 9);
  shape.in_w = draw.Between(2, kSmallShapes ? 5 : 9);
  shape.kernel_h = shape.kernel_w = shape.stride_h = shape.stride_w = 2;
  shape.out_h = shape.in_h / 2;
  shape.out_w = shape.in_w / 2;
  if (shape.out_h > 1 && draw.Chance(20)) --shape.out_h;
  return shape;
}

PoolShape Windows(Draw& draw) { return draw.Chance(40) ? TwoByTwo(draw) : AnyShape(draw); }

TYPED_TEST(Pool, TheFirstMaximumWinsAndNaNOverAll) {
  for (int seed = 0; seed < kShapes; ++seed) {
    Draw draw(seed);
    const PoolShape shape = Windows(draw);
    EXPECT_EQ(Problem(MaxPoolForwardCase<TypeParam>(shape, draw.Chance(80), seed)), "");
  }
}

TYPED_TEST(Pool, TheGradientOfAMaximumGoesWhereItStood) {
  for (int seed = 100; seed < 100 + kShapes; ++seed) {
    Draw draw(seed);
    const PoolShape shape = Windows(draw);
    EXPECT_EQ(Problem(MaxPoolBackwardCase<TypeParam>(shape, draw.Chance(50), seed)), "");
  }
}

TYPED_TEST(Pool, AMeanLeavesPaddingOut) {
  for (int seed = 200; seed < 200 + kShapes; ++seed) {
    Draw draw(seed);
    EXPECT_EQ(Problem(AvgPoolForwardCase<TypeParam>(Windows(draw), seed)), "");
  }
}

TYPED_TEST(Pool, TheGradientOfAMeanIsSharedByItsPixels) {
  for (int seed = 300; seed < 300 + kShapes; ++seed) {
    Draw draw(seed);
    const PoolShape shape = Windows(draw);
    EXPECT_EQ(Problem(AvgPoolBackwardCase<TypeParam>(shape, draw.Chance(50), seed)), "");
  }
}

// 256 cells fit a byte, 257 do not.
TYPED_TEST(Pool, LargeWindowsHaveIndicesOfTwoBytes) {
  for (const auto& [height, width, bytes] : {std::tuple{16, 16, 1}, {257, 1, 2}, {20, 15, 2}}) {
    for (int channels : {3, 8}) {
      PoolShape shape{1, channels, height, width, 1, 1, height, width, 1, 1, 0, 0};
      EXPECT_EQ(MaxPoolIndexBytes(shape), channels * bytes);
      shape.in_h += 2;
      shape.out_h = 3;
      EXPECT_EQ(Problem(MaxPoolForwardCase<TypeParam>(shape, true, height)), "");
      EXPECT_EQ(Problem(MaxPoolBackwardCase<TypeParam>(shape, false, height)), "");
    }
  }
}

TYPED_TEST(Pool, ManyBlocksAndALastOneThatIsPartial) {
  const PoolShape halving = SquarePool(3, 18, 24, 2, 2, 0);
  const PoolShape overlapping = SquarePool(3, 13, 24, 3, 2, 1);
  if (kSmallShapes) return;
  for (const PoolShape& shape : {halving, overlapping}) {
    EXPECT_EQ(Problem(MaxPoolForwardCase<TypeParam>(shape, true, 1)), "");
    EXPECT_EQ(Problem(MaxPoolBackwardCase<TypeParam>(shape, true, 2)), "");
    EXPECT_EQ(Problem(AvgPoolForwardCase<TypeParam>(shape, 3)), "");
    EXPECT_EQ(Problem(AvgPoolBackwardCase<TypeParam>(shape, false, 4)), "");
  }
}

TYPED_TEST(Pool, GlobalMeansOfAnyShape) {
  for (int seed = 400; seed < 400 + kShapes; ++seed) {
    Draw draw(seed);
    const int pixels = draw.OneOf({1, 2, 7, 8, 16, 49, 64, 100});
    const int batch = draw.Between(1, 5), channels = draw.OneOf({1, 3, 4, 8, 10, 24, 40, 64});
    EXPECT_EQ(Problem(GlobalAvgPoolForwardCase<TypeParam>(batch, pixels, channels, seed)), "");
  }
}

// Up to all threads of a block share the pixels of one output.
TYPED_TEST(Pool, GlobalMeansOfFewChannelsOfLargeImages) {
  for (int channels : {1, 8}) {
    for (int pixels : kSmallShapes ? std::vector<int>{300} : std::vector<int>{1030, 1}) {
      EXPECT_EQ(Problem(GlobalAvgPoolForwardCase<TypeParam>(2, pixels, channels, 5)), "");
    }
  }
}

TYPED_TEST(Pool, TheGradientOfAGlobalMean) {
  for (int seed = 500; seed < 500 + kShapes; ++seed) {
    Draw draw(seed);
    const int batch = draw.Between(1, 3), pixels = draw.Between(1, 30), channels = Channels(draw);
    EXPECT_EQ(Problem(GlobalAvgPoolBackwardCase<TypeParam>(batch, pixels, channels, draw.Chance(50),
                                                           seed)),
              "");
  }
}

TEST(Divisor, IsExactBelowTwoToThe31) {
  Draw draw(1);
  const auto check = [](int dividend, int divisor) {
    const Divisor by(divisor);
    const uint32_t quotient = Quotient(dividend, by);
    EXPECT_EQ(quotient, dividend / divisor) << dividend << " / " << divisor;
    EXPECT_EQ(Remainder(dividend, quotient, by), dividend % divisor);
  };
  for (int i = 0; i < 3000; ++i) {
    const int power = 1 << draw.Between(0, 30);
    const int divisor = draw.OneOf({power, power - 1, power | 1, draw.Between(1, INT32_MAX)});
    if (divisor < 1) continue;
    const int multiple = INT32_MAX / divisor * divisor;
    for (int dividend : {0, divisor - 1, divisor, multiple - 1, multiple, INT32_MAX}) {
      check(dividend, divisor);
    }
    check(draw.Between(1, INT32_MAX), divisor);
  }
  check(INT32_MAX, INT32_MAX);
}

std::string MaxRefusal(const PoolShape& shape) {
  return Refusal([&] { MaxPoolForward<float>(shape, nullptr, nullptr, nullptr, nullptr); });
}

TEST(PoolRefusals, ShapesWithoutElementsOrWithTooMany) {
  PoolShape shape = SquarePool(2, 8, 4, 2, 2, 0);
  shape.batch = 0;
  EXPECT_EQ(MaxRefusal(shape), "MaxPoolForward: batch = 0, expected at least 1");
  shape.batch = 1 << 23;
  EXPECT_EQ(MaxRefusal(shape),
            "MaxPoolForward: x has 2147483648 elements, expected 1 to 2147483647");
  shape = SquarePool(1 << 21, 1, 256, 3, 1, 2);
  EXPECT_EQ(MaxRefusal(shape),
            "MaxPoolForward: y has 4831838208 elements, expected 1 to 2147483647");
}

TEST(PoolRefusals, WindowsThatLieInThePadding) {
  PoolShape shape = SquarePool(1, 8, 4, 2, 2, 0);
  shape.pad_left = 2;
  EXPECT_EQ(MaxRefusal(shape), "MaxPoolForward: padding along width is 2, expected 0 to 1");
  shape.pad_left = 0;
  shape.out_h = 5;
  EXPECT_EQ(MaxRefusal(shape),
            "MaxPoolForward: output height = 5 is more than an input of 8 has windows for");
}

TEST(PoolRefusals, SizesThatAreNotPositive) {
  const PoolShape good = SquarePool(1, 8, 4, 2, 2, 0);
  PoolShape shape = good;
  shape.stride_h = 0;
  EXPECT_EQ(MaxRefusal(shape), "MaxPoolForward: stride along height = 0, expected at least 1");
  shape = good;
  shape.kernel_w = 0;
  EXPECT_EQ(MaxRefusal(shape), "MaxPoolForward: window width = 0, expected at least 1");
  shape = good;
  shape.out_w = 0;
  EXPECT_EQ(MaxRefusal(shape), "MaxPoolForward: output width = 0, expected at least 1");
  shape = good;
  shape.kernel_h = INT32_MAX - 5;
  EXPECT_EQ(MaxRefusal(shape),
            "MaxPoolForward: input, window and stride along height are 2147483652, expected below "
            "2^31");
}

TEST(PoolRefusals, WindowsOfMoreCellsThanAnIndexCounts) {
  const PoolShape shape{1, 4, 257, 256, 1, 1, 257, 256, 1, 1, 0, 0};
  const char expected[] = "MaxPool: a window has 65792 cells, expected at most 65536";
  EXPECT_EQ(MaxRefusal(shape), expected);
  EXPECT_EQ(Refusal([&] { MaxPoolIndexBytes(shape); }), expected);
  EXPECT_EQ(
      Refusal([&] { MaxPoolBackward<float>(shape, nullptr, nullptr, false, nullptr, nullptr); }),
      expected);
}

TEST(PoolRefusals, EveryLauncherRefuses) {
  const PoolShape empty{};
  const std::string none = ": batch = 0, expected at least 1";
  EXPECT_EQ(
      Refusal([&] { MaxPoolBackward<bf16>(empty, nullptr, nullptr, false, nullptr, nullptr); }),
      "MaxPoolBackward" + none);
  EXPECT_EQ(Refusal([&] { AvgPoolForward<bf16>(empty, nullptr, nullptr, nullptr); }),
            "AvgPoolForward" + none);
  EXPECT_EQ(Refusal([&] { AvgPoolBackward<bf16>(empty, nullptr, false, nullptr, nullptr); }),
            "AvgPoolBackward" + none);
  EXPECT_EQ(Refusal([&] { GlobalAvgPoolForward<bf16>(0, 4, 8, nullptr, nullptr, nullptr); }),
            "GlobalAvgPoolForward: batch = 0, expected at least 1");
  EXPECT_EQ(Refusal([&] {
              GlobalAvgPoolBackward<bf16>(1 << 16, 1 << 8, 1 << 7, nullptr, false, nullptr,
                                          nullptr);
            }),
            "GlobalAvgPoolBackward: x has 2147483648 elements, expected 1 to 2147483647");
}

TEST(PoolRefusals, PointersThatAreNotAligned) {
  const DeviceArray<float> x(9), y(4);
  EXPECT_EQ(Refusal([&] {
              AvgPoolForward(SquarePool(1, 2, 1, 2, 2, 0), x.data() + 1, y.data(), nullptr);
            }),
            "AvgPoolForward: x is not aligned to 16 bytes");
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
