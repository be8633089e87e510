// Images are loaded as kernels/augment.h defines it, bit for bit, on every SIMD target.
#include "kernels/cpu/simd/load_image.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/augment.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu {
namespace {

// Draws images and what is done to them.
class LoadImage : public SimdTest {
 protected:
  int Draw(int least, int most) { return std::uniform_int_distribution<int>(least, most)(random_); }
  float DrawReal(float least, float most) {
    return std::uniform_real_distribution<float>(least, most)(random_);
  }
  std::vector<uint8_t> DrawPixels(const ValueShape& shape) {
    std::vector<uint8_t> pixels(static_cast<size_t>(shape.size()));
    for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(Draw(0, 255));
    return pixels;
  }
  ImageDraws DrawDraws(const ValueShape& shape) {
    ImageDraws draws{};
    draws.flip = Draw(0, 1) == 1;
    draws.dy = Draw(-shape.height - 1, shape.height + 1) / Draw(1, 4);
    draws.dx = Draw(-shape.width - 1, shape.width + 1) / Draw(1, 4);
    draws.cut_top = Draw(0, shape.height), draws.cut_bottom = Draw(0, shape.height);
    draws.cut_left = Draw(0, shape.width), draws.cut_right = Draw(0, shape.width);
    return draws;
  }
  void ExpectAsDefined(const Normaliser& normaliser, const std::vector<float>& table,
                       const ValueShape& shape, const ImageDraws& draws) {
    const std::vector<uint8_t> pixels = DrawPixels(shape);
    std::vector<float> expected(pixels.size(), -1.0f), found(pixels.size(), -2.0f);
    AugmentImage(pixels.data(), shape, table.data(), draws, expected.data());
    normaliser.Load(pixels.data(), shape, draws, found.data());
    ASSERT_EQ(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)), 0)
        << shape.channels << "x" << shape.height << "x" << shape.width << " flip " << draws.flip
        << " dy " << draws.dy << " dx " << draws.dx;
  }

  std::mt19937 random_{7};
};

TEST_P(LoadImage, GivesWhatIsDefinedForRandomShapesNormalisationsAndDraws) {
  int affine = 0;
  for (int i = 0; i < 3'000; ++i) {
    const ValueShape shape{Draw(1, 4), Draw(1, 40), Draw(1, 40)};
    std::vector<float> mean, inverse_std;
    for (int c = 0; c < shape.channels; ++c) {
      mean.push_back(DrawReal(-0.2f, 1.2f));
      inverse_std.push_back(DrawReal(0.1f, 30));
    }
    const Normaliser normaliser(mean, inverse_std);
    for (int c = 0; c < shape.channels; ++c) affine += normaliser.channel(c).affine;
    const std::vector<float> table = NormalisationTable(mean, inverse_std);
    ExpectAsDefined(normaliser, table, shape, ImageDraws{});
    ExpectAsDefined(normaliser, table, shape, DrawDraws(shape));
    EXPECT_TRUE(normaliser.finite());
  }
  EXPECT_GT(affine, 6'000) << "of about 7,500: nearly all are fast";
}

TEST_P(LoadImage, GivesWhatIsDefinedWhereAMultiplicationWouldRoundAnotherWay) {
  // Byte 85 is next to the mean: what is left of it in double shows in the float.
  const std::vector<float> mean = {0x1.55551cp-2f}, inverse_std = {0x1.2a6d7p+4f};
  const Normaliser normaliser(mean, inverse_std);
  EXPECT_FALSE(normaliser.channel(0).affine);
  const std::vector<float> table = NormalisationTable(mean, inverse_std);
  for (int i = 0; i < 100; ++i) {
    ExpectAsDefined(normaliser, table, {1, 20, 20}, ImageDraws{});
    ExpectAsDefined(normaliser, table, {1, 20, 20}, DrawDraws({1, 20, 20}));
  }
}

TEST_P(LoadImage, TellsWhereNormalisingGivesNoNumbers) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(Normaliser(std::vector<float>{0.5f, 0}, std::vector<float>{1, infinity}).finite());
  EXPECT_FALSE(Normaliser(std::vector<float>{0 * infinity}, std::vector<float>{1}).finite());
}

TRAINYARD_FOR_SIMD_TARGETS(LoadImage);

}  // namespace
}  // namespace trainyard::kernels::cpu
