// How an activation lies in memory: plain (n, c, h, w), or blocked as oneDNN's nChw8c and nChw16c,
// (n, c / block, h, w, c % block), with the channels padded to whole blocks of zeros.
#pragma once

#include <cstdint>

#include "kernels/graph.h"

namespace trainyard::kernels::cpu {

struct Layout {
  int batch = 0;
  ValueShape shape;
  int block = 1;  // channels that lie side by side: 1 (plain), 8 or 16

  int blocks() const { return (shape.channels + block - 1) / block; }
  int64_t plane() const { return int64_t{shape.height} * shape.width; }
  // Floats of one tile: one block of channels of one image.
  int64_t tile() const { return plane() * block; }
  int64_t tiles() const { return int64_t{batch} * blocks(); }
  int64_t floats() const { return tiles() * tile(); }
  int64_t bytes() const { return floats() * static_cast<int64_t>(sizeof(float)); }
};

// Whether the same bytes mean the same tensor.
inline bool SameBytes(const Layout& a, const Layout& b) {
  if (a.block == b.block) return true;
  return a.plane() == 1 && a.shape.channels % a.block == 0 && b.shape.channels % b.block == 0;
}

// A flat vector whose channels fill whole blocks may be read as blocked, which vectorises.
inline Layout Vectorised(Layout layout) {
  if (layout.block == 1 && layout.plane() == 1) {
    if (layout.shape.channels % 16 == 0) {
      layout.block = 16;
    } else if (layout.shape.channels % 8 == 0) {
      layout.block = 8;
    }
  }
  return layout;
}

}  // namespace trainyard::kernels::cpu
