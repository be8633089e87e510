// What is drawn for one training image, as one piece of code for every backend: callable in kernels
// too.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/philox.h"

namespace trainyard::kernels {

// The draws for one image: output(y, x) = source(y + dy, flip ? width - 1 - (x + dx) : x + dx),
// zero where that lies outside of the image, and zero inside the cut: rows [cut_top, cut_bottom),
// columns [cut_left, cut_right), clipped to the image. `{}` changes nothing; no member has an
// initialiser of its own, since shared memory of a kernel takes none.
struct ImageDraws {
  bool flip;
  int dy, dx;
  int cut_top, cut_bottom, cut_left, cut_right;
};

// All that draws depend on besides the image's place and size.
struct AugmentationStream {
  uint64_t seed = 0;
  int64_t step = 0;
  bool flip = false;
  int shift = 0, cutout = 0;
};

// The draws for the image at `place` in the batch (0-based).
constexpr ImageDraws DrawAugmentation(const AugmentationStream& stream, int place, int height,
                                      int width) {
  ImageDraws draws{};
  const uint64_t group = static_cast<uint64_t>(place);
  if (stream.flip || stream.shift > 0) {
    const PhiloxWords words =
        RandomWords({stream.seed, stream.step, 0, Purpose::kFlipAndShift}, group);
    const int shift = std::max(stream.shift, 0);
    const uint32_t range = 2 * static_cast<uint32_t>(shift) + 1;
    draws.flip = stream.flip && words[0] < 0x80000000u;
    draws.dy = static_cast<int>(RandomBelow(words[1], range)) - shift;
    draws.dx = static_cast<int>(RandomBelow(words[2], range)) - shift;
  }
  if (stream.cutout > 0) {
    const PhiloxWords words = RandomWords({stream.seed, stream.step, 0, Purpose::kCutout}, group);
    // The centre is uniform over the image, so a cut near the border loses part of its area
    // (DeVries and Taylor, "Improved Regularization of CNNs with Cutout", 2017).
    const int side = std::min(stream.cutout, 2 * std::max(height, width));
    const int top = static_cast<int>(RandomBelow(words[0], height)) - side / 2;
    const int left = static_cast<int>(RandomBelow(words[1], width)) - side / 2;
    draws.cut_top = std::clamp(top, 0, height);
    draws.cut_bottom = std::clamp(top + side, 0, height);
    draws.cut_left = std::clamp(left, 0, width);
    draws.cut_right = std::clamp(left + side, 0, width);
  }
  return draws;
}

}  // namespace trainyard::kernels
