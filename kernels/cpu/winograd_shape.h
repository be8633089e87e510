// What both ways of computing a convolution with Winograd have in common, winograd_core and
// winograd_batch: its tiles and its weights. Internal to them.
#pragma once

#include <cstdint>

#include "kernels/cpu/conv_core.h"
#include "kernels/cpu/simd/winograd.h"

namespace trainyard::kernels::cpu {

inline int CeilDiv(int a, int b) { return (a + b - 1) / b; }

class WinogradShape {
 public:
  // Throws Error where WinogradSupports is false.
  explicit WinogradShape(const ConvGeometry& geometry);

  int inputs() const { return weights_.inputs; }  // channels, padded
  int outputs() const { return weights_.outputs; }
  int tiles() const { return tiles_y_ * tiles_x_; }  // of an image
  const WinogradWeights& weights() const { return weights_; }

  // Whole tiles large, so that tiles may reach over the image's edges.
  Frame input_frame() const { return input_frame_; }
  Frame output_frame() const { return output_frame_; }
  int64_t input_floats() const;  // of a frame
  int64_t output_floats() const;

  // Floats from one transformed tile to the next.
  int64_t input_row() const { return RowOf(inputs()); }
  int64_t output_row() const { return RowOf(outputs()); }
  // Floats from position to position, of so many floats of transformed tiles.
  static int64_t Position(int64_t floats);
  Tiles InputTiles(int first, int count, int64_t position) const;
  Tiles OutputTiles(int first, int count, int64_t position) const;

  // As ConvCore's; they spread over threads.
  void Pack(const float* weights, float* packed) const;
  void PackBackward(const float* packed, float* backward) const;
  void Finish(const float* sums, float* dw) const;

 private:
  static int64_t RowOf(int channels);

  int tiles_y_ = 0, tiles_x_ = 0;
  Frame input_frame_, output_frame_;
  WinogradWeights weights_;
};

}  // namespace trainyard::kernels::cpu
