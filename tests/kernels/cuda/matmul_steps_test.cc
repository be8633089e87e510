// Steps of dense layers by cuBLASLt, or by what stands in for it on the emulated machine, against
// float64 loops.
#include "kernels/cuda/matmul_steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>

#include "kernels/cuda/cublaslt/cublaslt.h"
#include "kernels/cuda/cudnn/library.h"
#include "tests/kernels/cuda/support/library_steps.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsNan;

constexpr Activation kIdentity, kRelu = {true, 0}, kLeaky = {true, 0.125f};

constexpr LibraryPasses kCublasLt = {
    [] { return std::make_unique<Libraries>(nullptr, std::make_unique<CublasLt>()); },
    AddMatmulForward, AddMatmulBackwardFilter, AddMatmulBackwardData};

ConvShape Dense(int batch, int in, int out) {
  ConvShape shape;
  shape.batch = batch, shape.in_c = in, shape.out_c = out;
  shape.in_h = shape.in_w = shape.out_h = shape.out_w = 1;
  return shape;
}

// Of an image: as many taps as it has pixels.
ConvShape DenseOfImage(int batch, int height, int width, int channels, int out) {
  ConvShape shape = Dense(batch, channels, out);
  shape.in_h = shape.kernel_h = height;
  shape.in_w = shape.kernel_w = width;
  return shape;
}

ConvShape DrawDense(Draw& draw) {
  const auto size = [&](int most) {
    return draw.Chance(50) ? draw.Between(1, most / 8) * 8 : draw.Between(1, most);
  };
  const int batch = draw.Chance(20) ? 1 : size(kSmallShapes ? 8 : 40);
  if (draw.Chance(50)) return Dense(batch, size(kSmallShapes ? 24 : 200), size(48));
  return DenseOfImage(batch, draw.Between(1, 4), draw.Between(1, 4), draw.Between(1, 9), size(24));
}

template <typename Element, Precision kOf>
struct Kind {
  using T = Element;
  static constexpr Precision kPrecision = kOf;
};
template <typename Kind>
class MatmulSteps : public ::testing::Test {
 protected:
  using T = typename Kind::T;
  static constexpr Precision kPrecision = Kind::kPrecision;
  static void ExpectForward(const ConvShape& shape, bool bias, Activation activation,
                            uint64_t seed) {
    EXPECT_EQ(Problem(StepsForwardCase<T>(kCublasLt, shape, kPrecision, bias, activation, seed)),
              "");
  }
  static void ExpectGradients(const ConvShape& shape, uint64_t seed) {
    EXPECT_EQ(Problem(StepsFilterCase<T>(kCublasLt, shape, kPrecision, seed)), "");
    EXPECT_EQ(Problem(StepsDataCase<T>(kCublasLt, shape, kPrecision, false, seed)), "");
    EXPECT_EQ(Problem(StepsDataCase<T>(kCublasLt, shape, kPrecision, true, seed)), "");
  }
};
using Kinds = ::testing::Types<Kind<float, Precision::kFp32>, Kind<float, Precision::kTf32>,
                               Kind<bf16, Precision::kBf16>>;
TYPED_TEST_SUITE(MatmulSteps, Kinds);

TYPED_TEST(MatmulSteps, OfRandomLayersGiveWhatLoopsGive) {
  Draw draw(31);
  for (int seed = 0; seed < (kSmallShapes ? 4 : 25); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const ConvShape shape = DrawDense(draw);
    this->ExpectForward(shape, draw.Chance(70), draw.OneOf({kIdentity, kRelu, kLeaky}), seed);
    this->ExpectGradients(shape, seed);
  }
}

TYPED_TEST(MatmulSteps, ApplyEachBiasAndActivation) {
  const ConvShape shape = DenseOfImage(5, 3, 2, 7, 13);
  for (const bool bias : {false, true}) {
    for (const Activation activation : {kIdentity, kRelu, kLeaky}) {
      this->ExpectForward(shape, bias, activation, 7);
    }
  }
}

TYPED_TEST(MatmulSteps, KeepNanWhereAReluFollows) {
  const ConvShape shape = Dense(3, 8, 5);
  KernelCase kernel = StepsForwardCase<typename TestFixture::T>(kCublasLt, shape, this->kPrecision,
                                                                true, kRelu, 5, std::nanf(""));
  EXPECT_THAT(kernel.outputs.front().expected, Each(IsNan()));
  EXPECT_EQ(Problem(kernel), "");
}

TYPED_TEST(MatmulSteps, OfTheSmallestAndOfOddLayersGiveWhatLoopsGive) {
  for (const ConvShape& shape : {Dense(1, 1, 1), Dense(1, 17, 10), Dense(3, 1, 5), Dense(7, 9, 1),
                                 Dense(13, 33, 31), DenseOfImage(1, 5, 1, 3, 11)}) {
    this->ExpectForward(shape, true, kRelu, 4);
    this->ExpectGradients(shape, 4);
  }
}

TYPED_TEST(MatmulSteps, AreNamedByTheAlgorithmSoThatTheFingerprintHasIt) {
  LibrarySteps steps(kCublasLt, this->kPrecision);
  const ConvLayer layer = StepLayer(Dense(4, 24, 16));
  EXPECT_TRUE(AddMatmulForward(layer, kIdentity, kStepX, kStepY, steps.plan));
  EXPECT_TRUE(AddMatmulBackwardFilter(layer, kStepX, kStepFilterDy, steps.plan));
  EXPECT_TRUE(AddMatmulBackwardData(layer, kStepY, false, kStepX, steps.plan));
  EXPECT_EQ(steps.plan.StepNames().size(), 3u);
  EXPECT_THAT(steps.plan.StepNames(), Each(HasSubstr("cublaslt algorithm ")));
}

TEST(MatmulStepsWithoutLibraries, AddNothing) {
  Plan plan(Precision::kFp32);
  const ConvLayer layer = StepLayer(Dense(4, 24, 16));
  EXPECT_FALSE(AddMatmulForward(layer, kIdentity, kStepX, kStepY, plan));
  EXPECT_FALSE(AddMatmulBackwardFilter(layer, kStepX, kStepFilterDy, plan));
  EXPECT_FALSE(AddMatmulBackwardData(layer, kStepY, false, kStepX, plan));
  EXPECT_THAT(plan.StepNames(), IsEmpty());
}

TEST(IsMatmul, HoldsWhereOneOutputPixelSeesTheWholeImage) {
  EXPECT_TRUE(IsMatmul(StepLayer(Dense(4, 24, 16))));
  EXPECT_TRUE(IsMatmul(StepLayer(DenseOfImage(4, 3, 5, 2, 16))));
  EXPECT_FALSE(IsMatmul(StepLayer(SameWindows(4, 3, 8, 16, 1, 1)))) << "nine pixels";
  EXPECT_FALSE(IsMatmul(StepLayer(SameWindows(4, 1, 8, 16, 3, 1)))) << "sees padding";
  ConvShape grouped = Dense(4, 24, 16);
  grouped.groups = 2;
  EXPECT_FALSE(IsMatmul(StepLayer(grouped))) << "two products";
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
