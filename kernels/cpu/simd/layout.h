// How an activation lies in memory: channels last, (n, h, w, c), with the channels padded to whole
// blocks of zeros, so that no inner loop has a remainder and every vector load is whole.
//
// Only the network's input is plain (n, c, h, w), as the images come.
#pragma once

#include <cstdint>

#include "kernels/graph.h"

namespace trainyard::kernels::cpu {

// Channels come in blocks of this many floats: a cache line, and whole vectors of every target.
constexpr int kBlock = 16;

inline int Padded(int channels) { return (channels + kBlock - 1) / kBlock * kBlock; }

struct Layout {
  int batch = 0;
  ValueShape shape;

  int channels() const { return Padded(shape.channels); }  // floats from one pixel to the next
  int64_t plane() const { return int64_t{shape.height} * shape.width; }
  int64_t image() const { return plane() * channels(); }  // floats of one image
  int64_t floats() const { return batch * image(); }
  int64_t bytes() const { return floats() * int64_t{sizeof(float)}; }
};

}  // namespace trainyard::kernels::cpu
