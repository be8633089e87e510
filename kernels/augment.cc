#include "kernels/augment.h"

#include <algorithm>

namespace trainyard::kernels {

ImageDraws DrawAugmentation(const StepScalars& scalars, int place, const ValueShape& shape) {
  return DrawAugmentation({scalars.seed, scalars.step, scalars.flip, scalars.shift, scalars.cutout},
                          place, shape.height, shape.width);
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
