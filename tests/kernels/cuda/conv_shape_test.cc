#include "kernels/cuda/conv_shape.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/cuda/conv_plan.h"
#include "tests/kernels/cuda/support/refusal.h"

namespace trainyard::kernels::cuda::testing {
namespace {

// 3x3 over 8x6 pixels, 4 to 8 channels.
ConvShape Good() {
  ConvShape shape;
  shape.batch = 2;
  shape.in_h = shape.out_h = 8, shape.in_w = shape.out_w = 6;
  shape.in_c = 4, shape.out_c = 8;
  shape.kernel_h = shape.kernel_w = 3;
  shape.pad_top = shape.pad_left = 1;
  return shape;
}

std::string Complaint(const ConvShape& shape) {
  return Refusal([&] { CheckConvShape("Kernel", shape); });
}

TEST(ConvShape, CountsWithoutGroups) {
  const ConvShape shape = Good();
  EXPECT_EQ(Complaint(shape), "");
  EXPECT_EQ(shape.in_size(), 2 * 8 * 6 * 4);
  EXPECT_EQ(shape.out_size(), 2 * 8 * 6 * 8);
  EXPECT_EQ(shape.depth(), 36);
  EXPECT_EQ(shape.weights(), 288);
  EXPECT_EQ(shape.flops(), 2.0 * 768 * 36);
}

TEST(ConvShape, GroupsShareTheWeights) {
  ConvShape shape = Good();
  shape.groups = 4;
  EXPECT_EQ(Complaint(shape), "");
  EXPECT_EQ(shape.weights(), 72);
  shape.groups = 3;
  EXPECT_EQ(Complaint(shape), "Kernel: 3 groups do not divide 4 and 8 channels");
}

TEST(ConvShape, EverySizeMustBePositive) {
  for (int ConvShape::*size :
       {&ConvShape::batch, &ConvShape::in_h, &ConvShape::in_w, &ConvShape::in_c, &ConvShape::out_h,
        &ConvShape::out_w, &ConvShape::out_c, &ConvShape::kernel_h, &ConvShape::kernel_w,
        &ConvShape::stride_h, &ConvShape::stride_w, &ConvShape::groups}) {
    for (int value : {0, -1}) {
      ConvShape shape = Good();
      shape.*size = value;
      EXPECT_NE(Complaint(shape).find("= " + std::to_string(value) + ", expected at least 1"),
                std::string::npos);
    }
  }
}

TEST(ConvShape, WindowsStartInsideThePaddedInput) {
  ConvShape shape = Good();
  shape.out_h = 9;  // the last window starts at row 7, which exists
  EXPECT_EQ(Complaint(shape), "");
  shape.out_h = 10;
  EXPECT_EQ(Complaint(shape),
            "Kernel: output height = 10 is more than an input of 8 has windows for");
  shape = Good();
  shape.pad_left = 3;
  EXPECT_EQ(Complaint(shape), "Kernel: padding along width is 3, expected 0 to 2");
}

TEST(ConvShape, TensorsMustBeIndexable) {
  ConvShape shape = Good();
  shape.batch = std::numeric_limits<int>::max() / (8 * 6 * 8);
  EXPECT_EQ(Complaint(shape), "");
  ++shape.batch;
  EXPECT_NE(Complaint(shape).find("Kernel: y"), std::string::npos) << Complaint(shape);
}

TEST(ConvShape, OnlyAKernelOverTheWholeImageIsOneTap) {
  ConvShape shape = Good();
  EXPECT_EQ(FewestTaps(shape).kernel_h, 3);
  shape.kernel_h = 8, shape.kernel_w = 6;
  shape.pad_top = shape.pad_left = 0;
  shape.out_h = shape.out_w = 1;
  const ConvShape product = FewestTaps(shape);
  EXPECT_EQ(product.kernel_h * product.kernel_w * product.in_h * product.in_w, 1);
  EXPECT_EQ(product.in_c, 8 * 6 * 4);
  EXPECT_EQ(product.weights(), shape.weights());
  EXPECT_EQ(product.in_size(), shape.in_size());
  EXPECT_EQ(product.out_size(), shape.out_size());
  ConvShape grouped = shape;
  grouped.groups = 2;
  EXPECT_EQ(FewestTaps(grouped).kernel_h, 8);
  ConvShape padded = shape;
  padded.pad_top = 1;
  EXPECT_EQ(FewestTaps(padded).kernel_h, 8);
}

TEST(ConvPlan, PiecesCoverThePixelsAndFillAGpu) {
  ConvShape shape = Good();
  for (int batch : {1, 5, 11, 100, 4096}) {
    for (int filters : {1, 8, 64, 512}) {
      shape.batch = batch, shape.out_c = filters;
      const FilterPlan plan = PlanFilter(shape);
      EXPECT_EQ(plan.pixels_per_piece % 32, 0);
      EXPECT_GE(plan.pieces * plan.pixels_per_piece, shape.out_pixels());
      EXPECT_LT((plan.pieces - 1) * plan.pixels_per_piece, shape.out_pixels());
      EXPECT_LE(plan.pieces, 264);
    }
  }
  shape.out_c = 8;
  EXPECT_GE(PlanFilter(shape).pieces, 128);
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
