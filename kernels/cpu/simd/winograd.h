// The transforms of Winograd's F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional
// Neural Networks", 2015; points 0, 1, -1, 2, -2, infinity), on channels-last images, one thread.
//
// With d a 6x6 tile of the input, g a 3x3 filter and Y the 4x4 tile of the output:
//   Y  = A^T [(G g G^T) . (B^T d B)] A
// and, by taking the adjoint of each map, one transform of the output's gradient serves both:
//   dg = G^T [(B^T d B) . (A dY A^T)] G,     dd = B [(G g G^T) . (A dY A^T)] B^T
// where dd of neighbouring tiles overlap and add up. "." and the sums over channels or tiles are 36
// matrix products, one for each position of the 6x6 tile: `gemm.h`.
//
// An image's tiles are numbered row by row. Tile (ty, tx) is read at pixel (4 ty, 4 tx) of an image
// that has its zero border already, and written at pixel (4 ty, 4 tx) of one that is whole tiles
// large. A transformed tile lies as positions[36] of `position` floats each: the tile `i` after the
// first at i * row within a position.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd/layout.h"

namespace trainyard::kernels::cpu {

constexpr int kTile = 4;        // pixels of output along an edge
constexpr int kTileIn = 6;      // of input
constexpr int kPositions = 36;  // of a transformed tile

struct Tiles {
  int tiles_x = 0;       // in a row of the image
  int first = 0;         // number of the first tile to transform
  int count = 0;         // how many
  int channels = 0;      // floats from pixel to pixel, a multiple of 16
  int width = 0;         // pixels from row to row of the image
  int64_t row = 0;       // floats from one transformed tile to the next
  int64_t position = 0;  // floats from position to position of the transformed tiles
};

// u = B^T d B
void TransformInput(const Tiles& tiles, const float* image, float* u);
// image = A^T m A, overwritten.
void TransformOutput(const Tiles& tiles, const float* m, float* image);
// z = A dY A^T
void TransformOutputGradient(const Tiles& tiles, const float* image, float* z);
// image = B d B^T, overwritten by the first tile that reaches a pixel, and added to by those after
// it: so an image's tiles come in order.
void TransformInputGradient(const Tiles& tiles, const float* d, float* image);

// Transformed weights, and the sums of their gradients: positions[36] of (panel of 16 outputs,
// input, output in the panel). A row is the 16 floats of one panel and input; rows are numbered in
// the order in which they lie.
struct WinogradWeights {
  int inputs = 0, outputs = 0;  // padded

  int rows() const { return outputs / kBlock * inputs; }
  // Floats from position to position: a cache line more than the rows, lest all 36 fall into the
  // same sets of a cache.
  int64_t position() const { return (rows() + int64_t{1}) * kBlock; }
  int64_t floats() const { return kPositions * position(); }
};
// G g G^T of the rows [first, first + count) of weights in the form of parameter_layout.h, (panel
// of outputs, 9, inputs, 16).
void TransformWeights(const WinogradWeights& shape, int first, int count, const float* weights,
                      float* transformed);
// dw = G^T s G, overwritten; s as transformed weights, dw as weights.
void TransformWeightGradient(const WinogradWeights& shape, int first, int count, const float* s,
                             float* dw);

}  // namespace trainyard::kernels::cpu
