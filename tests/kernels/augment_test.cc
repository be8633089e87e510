// Augmentation moves pixels as it says, and draws as often as it says.
#include "kernels/augment.h"

#include <gtest/gtest.h>

#include <vector>

namespace trainyard::kernels {
namespace {

constexpr ValueShape kShape{2, 5, 7};

// pixel(c, y, x) as the table gives it, by the definition in augment.h.
float Expected(const std::vector<uint8_t>& pixels, const std::vector<float>& table,
               const ImageDraws& d, int c, int y, int x) {
  if (y >= d.cut_top && y < d.cut_bottom && x >= d.cut_left && x < d.cut_right) return 0;
  const int from_y = y + d.dy, from_x = x + d.dx;
  if (from_y < 0 || from_y >= kShape.height || from_x < 0 || from_x >= kShape.width) return 0;
  const int column = d.flip ? kShape.width - 1 - from_x : from_x;
  return table[c * 256 + pixels[(c * kShape.height + from_y) * kShape.width + column]];
}

TEST(Augment, PixelsComeFromWhereTheDrawsSay) {
  std::vector<uint8_t> pixels(kShape.size());
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(37 * i + 11);
  const std::vector<float> table =
      NormalisationTable(std::vector<float>{0.4f, 0.5f}, std::vector<float>{3.0f, 4.0f});
  int images = 0;
  for (bool flip : {false, true}) {
    for (int dy = -6; dy <= 6; ++dy) {
      for (int dx = -8; dx <= 8; ++dx) {
        const ImageDraws draws{flip, dy, dx, 1, 3, 2, 6};
        std::vector<float> out(kShape.size(), -99.0f);
        AugmentImage(pixels.data(), kShape, table.data(), draws, out.data());
        for (int i = 0; i < kShape.size(); ++i) {
          const int c = i / 35, y = i / 7 % 5, x = i % 7;
          ASSERT_EQ(out[i], Expected(pixels, table, draws, c, y, x))
              << "flip " << flip << " dy " << dy << " dx " << dx << " at " << c << "," << y << ","
              << x;
        }
        ++images;
      }
    }
  }
  EXPECT_EQ(images, 2 * 13 * 17);
}

TEST(Augment, TableNormalisesEveryByte) {
  const std::vector<float> table =
      NormalisationTable(std::vector<float>{0.5f}, std::vector<float>{2.0f});
  for (int byte = 0; byte < 256; ++byte) {
    EXPECT_EQ(table[byte], static_cast<float>((byte / 255.0 - 0.5) * 2.0));
  }
}

TEST(Augment, NothingIsDrawnUnlessAskedFor) {
  StepScalars scalars;
  scalars.seed = 3;
  const ImageDraws draws = DrawAugmentation(scalars, 5, kShape);
  EXPECT_FALSE(draws.flip);
  EXPECT_EQ(draws.dy, 0);
  EXPECT_EQ(draws.dx, 0);
  EXPECT_EQ(draws.cut_bottom, draws.cut_top);
}

TEST(Augment, DrawsAreEvenAndStayInRange) {
  StepScalars scalars;
  scalars.seed = 11;
  scalars.flip = true;
  scalars.shift = 2;
  scalars.cutout = 3;
  int flips = 0, shifts[5] = {}, largest_cut = 0;
  for (int place = 0; place < 10000; ++place) {
    const ImageDraws draws = DrawAugmentation(scalars, place, kShape);
    flips += draws.flip;
    ASSERT_LE(std::abs(draws.dy), 2);
    ASSERT_LE(std::abs(draws.dx), 2);
    ++shifts[draws.dx + 2];
    ASSERT_LE(0, draws.cut_top);
    ASSERT_LE(draws.cut_bottom, kShape.height);
    ASSERT_LE(draws.cut_right, kShape.width);
    ASSERT_GT(draws.cut_bottom, draws.cut_top);  // the centre is inside, so something is cut
    largest_cut = std::max(largest_cut, draws.cut_right - draws.cut_left);
  }
  EXPECT_NEAR(flips, 5000, 250);
  for (int count : shifts) EXPECT_NEAR(count, 2000, 200);
  EXPECT_EQ(largest_cut, 3);
}

}  // namespace
}  // namespace trainyard::kernels
