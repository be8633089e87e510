// Steps of convolutions by cuDNN, or by what stands in for it on the emulated machine, against
// float64 loops.
#include "kernels/cuda/cudnn_steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cuda/cublaslt/cublaslt.h"
#include "kernels/cuda/cudnn/library.h"
#include "tests/kernels/cuda/support/library_steps.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsNan;

constexpr Activation kIdentity, kRelu = {true, 0}, kLeaky = {true, 0.125f};

constexpr LibraryPasses kCudnn = {
    [] { return std::make_unique<Libraries>(std::make_unique<Cudnn>(CudnnOptions{}), nullptr); },
    AddCudnnForward, AddCudnnBackwardFilter, AddCudnnBackwardData};

ConvShape WithChannels(ConvShape shape, int in, int out) {
  shape.in_c = in;
  shape.out_c = out;
  return shape;
}

// Of those that the steps take: asymmetric padding, strides, windows that leave out the image's
// last rows.
ConvShape DrawShape(Draw& draw) {
  ConvShape shape;
  do {
    shape = DrawWindows(draw, kSmallShapes ? 3 : 4, kSmallShapes ? 5 : 9);
  } while (!PostPaddingOf(shape).exact);
  return WithChannels(shape, draw.Between(2, 5) * 8, draw.Between(2, 5) * 8);
}

template <typename Element, Precision kOf>
struct Kind {
  using T = Element;
  static constexpr Precision kPrecision = kOf;
};
template <typename Kind>
class CudnnSteps : public ::testing::Test {
 protected:
  using T = typename Kind::T;
  static constexpr Precision kPrecision = Kind::kPrecision;
  static void ExpectForward(const ConvShape& shape, bool bias, Activation activation,
                            uint64_t seed) {
    EXPECT_EQ(Problem(StepsForwardCase<T>(kCudnn, shape, kPrecision, bias, activation, seed)), "");
  }
  static void ExpectGradients(const ConvShape& shape, uint64_t seed) {
    EXPECT_EQ(Problem(StepsFilterCase<T>(kCudnn, shape, kPrecision, seed)), "");
    EXPECT_EQ(Problem(StepsDataCase<T>(kCudnn, shape, kPrecision, false, seed)), "");
    EXPECT_EQ(Problem(StepsDataCase<T>(kCudnn, shape, kPrecision, true, seed)), "");
  }
};
using Kinds = ::testing::Types<Kind<float, Precision::kFp32>, Kind<float, Precision::kTf32>,
                               Kind<bf16, Precision::kBf16>>;
TYPED_TEST_SUITE(CudnnSteps, Kinds);

TYPED_TEST(CudnnSteps, OfRandomLayersGiveWhatLoopsGive) {
  Draw draw(41);
  for (int seed = 0; seed < (kSmallShapes ? 3 : 12); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const ConvShape shape = DrawShape(draw);
    this->ExpectForward(shape, draw.Chance(70), draw.OneOf({kIdentity, kRelu, kLeaky}), seed);
    this->ExpectGradients(shape, seed);
  }
}

TYPED_TEST(CudnnSteps, ApplyEachBiasAndActivation) {
  const ConvShape shape = SameWindows(2, 5, 16, 24, 3, 1);
  for (const bool bias : {false, true}) {
    for (const Activation activation : {kIdentity, kRelu, kLeaky}) {
      this->ExpectForward(shape, bias, activation, 7);
    }
  }
}

TYPED_TEST(CudnnSteps, OfBlocksThatHalveTheImageGiveWhatLoopsGive) {
  for (const ConvShape& shape :
       {SameWindows(2, 8, 16, 32, 3, 2), SameWindows(2, 7, 16, 32, 1, 2)}) {
    this->ExpectForward(shape, false, kIdentity, 8);
    this->ExpectGradients(shape, 8);
  }
}

TYPED_TEST(CudnnSteps, KeepNanThroughBiasAndActivation) {
  const ConvShape shape = SameWindows(1, 3, 16, 16, 1, 1);
  for (const Activation activation : {kIdentity, kRelu, kLeaky}) {
    KernelCase kernel = StepsForwardCase<typename TestFixture::T>(
        kCudnn, shape, this->kPrecision, true, activation, 5, std::nanf(""));
    EXPECT_THAT(kernel.outputs.front().expected, Each(IsNan()));
    EXPECT_EQ(Problem(kernel), "");
  }
}

TYPED_TEST(CudnnSteps, AreNamedByTheEngineSoThatTheFingerprintHasIt) {
  LibrarySteps steps(kCudnn, this->kPrecision);
  const ConvLayer layer = StepLayer(SameWindows(2, 5, 16, 24, 3, 1));
  EXPECT_TRUE(AddCudnnForward(layer, kIdentity, kStepX, kStepY, steps.plan));
  EXPECT_TRUE(AddCudnnBackwardData(layer, kStepY, false, kStepX, steps.plan));
  EXPECT_EQ(steps.plan.StepNames().size(), 2u);
  EXPECT_THAT(steps.plan.StepNames(), Each(HasSubstr(" cudnn e")));
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
