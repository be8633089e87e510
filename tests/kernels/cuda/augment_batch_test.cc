// Batches on the GPU hold the very values that kernels/augment.h defines.
#include "tests/kernels/cuda/cases/augment_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/backend.h"

namespace trainyard::kernels::cuda::testing {
namespace {

template <typename T>
class AugmentBatchTest : public ::testing::Test {};
using Types = ::testing::Types<float, bf16>;
TYPED_TEST_SUITE(AugmentBatchTest, Types);

StepBlock DrawStep(Draw& draw) {
  StepBlock step;
  step.seed = static_cast<uint64_t>(draw.Between(0, 1 << 30)) << 33 | 5;
  step.step = int64_t{draw.Between(0, 1 << 30)} << draw.Between(0, 17);
  step.flip = draw.Chance(70);
  step.shift = draw.Chance(70) ? draw.Between(0, 6) : 0;
  step.cutout = draw.Chance(70) ? draw.Between(0, 9) : 0;
  return step;
}

TYPED_TEST(AugmentBatchTest, RandomShapesEqualTheDefinition) {
  const int count = kSmallShapes ? 12 : 60, longest = kSmallShapes ? 12 : 40;
  for (int i = 0; i < count; ++i) {
    Draw draw(100 + i);
    const ImageBatch shape{draw.Between(1, 5), draw.Between(1, 6), draw.Between(1, longest),
                           draw.Between(1, longest)};
    const StepBlock step = DrawStep(draw);
    EXPECT_EQ(Problem(AugmentBatchCase<TypeParam>(shape, &step, i)), "");
  }
}

// Sizes of real data sets fill vectors.
TYPED_TEST(AugmentBatchTest, SquareImagesThatFillVectors) {
  const int side = kSmallShapes ? 8 : 32;
  for (int channels : {1, 2, 3, 4}) {
    Draw draw(200 + channels);
    StepBlock step = DrawStep(draw);
    step.flip = 1;
    step.shift = 3;
    step.cutout = 5;
    EXPECT_EQ(Problem(AugmentBatchCase<TypeParam>({3, channels, side, side}, &step, channels)), "");
  }
}

TYPED_TEST(AugmentBatchTest, ImagesOfSeveralBlocks) {
  Draw draw(300);
  const StepBlock step = DrawStep(draw);
  EXPECT_EQ(Problem(AugmentBatchCase<TypeParam>({2, 1, 27, 27}, &step, 1)), "");
  EXPECT_EQ(Problem(AugmentBatchCase<TypeParam>({1, 5, 13, 17}, &step, 2)), "");
  if (kSmallShapes) return;
  EXPECT_EQ(Problem(AugmentBatchCase<TypeParam>({2, 3, 80, 72}, &step, 3)), "");
  EXPECT_EQ(Problem(AugmentBatchCase<TypeParam>({1, 37, 20, 30}, &step, 4)), "");
}

// Nothing is drawn, so every pixel is in its place.
TYPED_TEST(AugmentBatchTest, EvaluationAugmentsNothing) {
  for (int channels : {1, 3, 5}) {
    const KernelCase kernel = AugmentBatchCase<TypeParam>({3, channels, 6, 8}, nullptr, channels);
    EXPECT_EQ(Problem(kernel), "");
  }
}

// A shift beyond the image leaves none of it; a cut larger than the image likewise.
TYPED_TEST(AugmentBatchTest, StrengthsBeyondTheImage) {
  StepBlock step;
  step.seed = 3;
  step.shift = 40;
  EXPECT_EQ(Problem(AugmentBatchCase<TypeParam>({4, 3, 4, 6}, &step, 1)), "");
  step.cutout = 1000;
  EXPECT_EQ(Problem(AugmentBatchCase<TypeParam>({4, 1, 5, 3}, &step, 2)), "");
}

template <typename T>
void ExpectRefused(const ImageBatch& shape, int offset, const char* words) {
  const auto x = Allocate<T>(64);
  EXPECT_THAT(
      [&] {
        AugmentBatch<T>(shape, nullptr, nullptr, nullptr, nullptr, x->data() + offset, nullptr);
      },
      ::testing::ThrowsMessage<kernels::Error>(::testing::HasSubstr(words)));
}

TYPED_TEST(AugmentBatchTest, RefusesWhatItCannotDo) {
  ExpectRefused<TypeParam>({0, 3, 4, 4}, 0, "AugmentBatch: batch = 0, expected at least 1");
  ExpectRefused<TypeParam>({2, 0, 4, 4}, 0, "AugmentBatch: channels = 0, expected at least 1");
  ExpectRefused<TypeParam>({2, 3, -1, 4}, 0, "AugmentBatch: height = -1, expected at least 1");
  ExpectRefused<TypeParam>({2, 3, 4, 0}, 0, "AugmentBatch: width = 0, expected at least 1");
  ExpectRefused<TypeParam>({1, 1, 65536, 65536}, 0, "plane has 4294967296 elements");
  ExpectRefused<TypeParam>({1, 3, 32768, 32768}, 0, "one image has 3221225472 elements");
  ExpectRefused<TypeParam>({2, 3, 4, 4}, 1, "AugmentBatch: x is not aligned to 16 bytes");
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
