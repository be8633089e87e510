// One picture: decoded from a PNG or JPEG file, resized, laid out for training.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/graph.h"

namespace trainyard::engine {

struct Picture {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;  // height * width * 3
};

// By the file's own signature, not its name. Transparent pixels stand on black. Throws
// kernels::Error naming `path` for anything damaged, cut off, empty or larger than kPixelsMax,
// before allocating more than such a file could hold.
Picture DecodeImage(std::span<const uint8_t> bytes, const std::string& path);

inline constexpr int64_t kPixelsMax = int64_t{1} << 26;  // in one picture

// Bilinear; where it shrinks, every source pixel counts (the triangle is as wide as the step
// between target pixels), so that nothing aliases. The same rounding on every machine.
Picture Resize(const Picture& picture, int width, int height);

// Resized to shape.height and shape.width, as planes. One channel is
// luma, 0.299 R + 0.587 G + 0.114 B.
void StoreAsPlanes(const Picture& picture, const kernels::ValueShape& shape,
                   std::span<uint8_t> out);

}  // namespace trainyard::engine
