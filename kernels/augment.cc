#include "kernels/augment.h"

#include <algorithm>

namespace trainyard::kernels {

ImageDraws DrawAugmentation(const StepScalars& scalars, int place, const ValueShape& shape) {
  ImageDraws draws;
  const uint64_t group = static_cast<uint64_t>(place);
  if (scalars.flip || scalars.shift > 0) {
    const PhiloxWords words =
        RandomWords({scalars.seed, scalars.step, 0, Purpose::kFlipAndShift}, group);
    draws.flip = scalars.flip && words[0] < 0x80000000u;
    const uint32_t range = 2 * static_cast<uint32_t>(std::max(scalars.shift, 0)) + 1;
    draws.dy = static_cast<int>(RandomBelow(words[1], range)) - std::max(scalars.shift, 0);
    draws.dx = static_cast<int>(RandomBelow(words[2], range)) - std::max(scalars.shift, 0);
  }
  if (scalars.cutout > 0) {
    const PhiloxWords words = RandomWords({scalars.seed, scalars.step, 0, Purpose::kCutout}, group);
    // The centre is uniform over the image, so a cut near the border loses part of its area
    // (DeVries and Taylor, "Improved Regularization of CNNs with Cutout", 2017).
    const int side = std::min(scalars.cutout, 2 * std::max(shape.height, shape.width));
    const int top = static_cast<int>(RandomBelow(words[0], shape.height)) - side / 2;
    const int left = static_cast<int>(RandomBelow(words[1], shape.width)) - side / 2;
    draws.cut_top = std::clamp(top, 0, shape.height);
    draws.cut_bottom = std::clamp(top + side, 0, shape.height);
    draws.cut_left = std::clamp(left, 0, shape.width);
    draws.cut_right = std::clamp(left + side, 0, shape.width);
  }
  return draws;
}

std::vector<float> NormalisationTable(std::span<const float> mean,
                                      std::span<const float> inverse_std) {
  std::vector<float> table(mean.size() * 256);
  for (size_t c = 0; c < mean.size(); ++c) {
    for (int byte = 0; byte < 256; ++byte) {
      table[c * 256 + byte] = static_cast<float>((byte / 255.0 - static_cast<double>(mean[c])) *
                                                 static_cast<double>(inverse_std[c]));
    }
  }
  return table;
}

void AugmentImage(const uint8_t* pixels, const ValueShape& shape, const float* table,
                  const ImageDraws& draws, float* out) {
  const int height = shape.height, width = shape.width;
  // Output columns whose source lies inside of the image.
  const int first = std::clamp(-draws.dx, 0, width);
  const int last = std::clamp(width - draws.dx, first, width);
  const int direction = draws.flip ? -1 : 1;
  const int start = draws.flip ? width - 1 - (first + draws.dx) : first + draws.dx;
  for (int c = 0; c < shape.channels; ++c, table += 256, pixels += int64_t{height} * width) {
    for (int y = 0; y < height; ++y, out += width) {
      const int from = y + draws.dy;
      if (from < 0 || from >= height) {
        std::fill(out, out + width, 0.0f);
        continue;
      }
      const uint8_t* row = pixels + int64_t{from} * width;
      std::fill(out, out + first, 0.0f);
      for (int x = first, s = start; x < last; ++x, s += direction) out[x] = table[row[s]];
      std::fill(out + last, out + width, 0.0f);
      if (y >= draws.cut_top && y < draws.cut_bottom && draws.cut_left < draws.cut_right) {
        std::fill(out + draws.cut_left, out + draws.cut_right, 0.0f);
      }
    }
  }
}

}  // namespace trainyard::kernels
