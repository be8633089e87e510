#include "kernels/cpu/winograd_shape.h"

#include <string>

#include "kernels/backend.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/layout.h"

namespace trainyard::kernels::cpu {
namespace {

// Of weights, that a thread transforms at once.
constexpr int kRows = 16;

template <typename Body>
void EachWeightRows(const WinogradWeights& weights, const Body& body) {
  ParallelFor(weights.rows() / kRows, int64_t{kRows} * kBlock * kPositions,
              [&](int64_t i) { body(static_cast<int>(i * kRows), kRows); });
}

}  // namespace

bool WinogradSupports(const ConvGeometry& geometry) {
  const Op& op = *geometry.op;
  return op.kernel_h == 3 && op.kernel_w == 3 && op.stride_h == 1 && op.stride_w == 1 &&
         op.groups == 1 && !geometry.plain_input;
}

WinogradShape::WinogradShape(const ConvGeometry& geometry)
    : tiles_y_(CeilDiv(geometry.out.height, kTile)),
      tiles_x_(CeilDiv(geometry.out.width, kTile)),
      weights_{Padded(geometry.in.channels), Padded(geometry.out.channels)} {
  const Op& op = *geometry.op;
  if (!WinogradSupports(geometry)) {
    throw Error(op.name + ": found a " + std::to_string(op.kernel_h) + "x" +
                std::to_string(op.kernel_w) + " convolution with stride " +
                std::to_string(op.stride_h) + "x" + std::to_string(op.stride_w) + ", " +
                std::to_string(op.groups) + " groups" +
                (geometry.plain_input ? " and a plain input" : "") +
                "; Winograd expects 3x3, stride 1x1, 1 group, channels last");
  }
  constexpr int kBorder = kTileIn - kTile;
  output_frame_ = {tiles_y_ * kTile, tiles_x_ * kTile, 0, 0};
  input_frame_ = {output_frame_.height + kBorder, output_frame_.width + kBorder, op.pad_top,
                  op.pad_left};
}

int64_t WinogradShape::input_floats() const {
  return int64_t{input_frame_.height} * input_frame_.width * inputs();
}
int64_t WinogradShape::output_floats() const {
  return int64_t{output_frame_.height} * output_frame_.width * outputs();
}

// Products read down the rows of tiles, and transforms write all 36 positions of a tile: neither
// may meet a power of two of cache lines, or all fall into few sets of the cache.
int64_t WinogradShape::RowOf(int channels) {
  return channels % (8 * kBlock) == 0 ? channels + kBlock : channels;
}
int64_t WinogradShape::Position(int64_t floats) { return (floats / kBlock | 1) * kBlock; }

Tiles WinogradShape::InputTiles(int first, int count, int64_t position) const {
  return {tiles_x_, first, count, inputs(), input_frame_.width, input_row(), position};
}
Tiles WinogradShape::OutputTiles(int first, int count, int64_t position) const {
  return {tiles_x_, first, count, outputs(), output_frame_.width, output_row(), position};
}

void WinogradShape::Pack(const float* weights, float* packed) const {
  EachWeightRows(weights_, [&](int first, int count) {
    TransformWeights(weights_, first, count, weights, packed);
  });
}

void WinogradShape::PackBackward(const float* packed, float* backward) const {
  ParallelFor(kPositions, weights_.position(), [&](int64_t i) {
    const int64_t position = i * weights_.position();
    TransposePanels(packed + position, inputs(), outputs(), backward + position);
  });
}

void WinogradShape::Finish(const float* sums, float* dw) const {
  EachWeightRows(weights_, [&](int first, int count) {
    TransformWeightGradient(weights_, first, count, sums, dw);
  });
}

}  // namespace trainyard::kernels::cpu
