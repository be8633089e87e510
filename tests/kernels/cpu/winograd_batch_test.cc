// Winograd over chunks of the batch, where they are cut, and where it is preferred;
// every_core_test.cc has random shapes.
#include <gtest/gtest.h>

#include <memory>

#include "kernels/backend.h"
#include "kernels/cpu/batch_core.h"
#include "tests/kernels/cpu/conv_case.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu::testing {
namespace {

class WinogradBatchOnTarget : public SimdTest {};

// More channels than a product takes at once, and more tiles; and tiles that are no multiple.
TEST_P(WinogradBatchOnTarget, IsTheConvolutionBeyondOneProduct) {
  ConvCase large = Case3x3({20, 58, 53}, 17, 2);
  large.op.pad_bottom = 0, large.op.pad_left = 2;
  for (const ConvCase& conv : {Case3x3({530, 5, 4}, 140, 3), large}) {
    const ConvSample sample(conv, 2);
    const auto core = MakeWinogradBatchCore(sample.geometry());
    ExpectClose(Computed(sample, *core, {conv.images}), Expected(sample), true, kWinogradTolerance);
  }
}

TRAINYARD_FOR_SIMD_TARGETS(WinogradBatchOnTarget);

TEST(WinogradBatch, IsPreferredForManyWeights) {
  const ConvSample deep(Case3x3({256, 4, 4}, 256, 1), 4);
  EXPECT_TRUE(PrefersWinogradBatch(deep.geometry()));
  Op strided = *deep.geometry().op;
  strided.stride_w = 2;
  ConvGeometry geometry = deep.geometry();
  geometry.op = &strided;
  EXPECT_FALSE(PrefersWinogradBatch(geometry));
  EXPECT_THROW(MakeWinogradBatchCore(geometry), Error);
  EXPECT_FALSE(PrefersWinogradBatch(ConvSample(Case3x3({128, 4, 4}, 128, 1), 4).geometry()));
}

}  // namespace
}  // namespace trainyard::kernels::cpu::testing
