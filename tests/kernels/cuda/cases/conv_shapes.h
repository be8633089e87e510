// Shapes of convolutions to try kernels on.
#pragma once

#include <algorithm>
#include <string>

#include "kernels/cuda/conv_shape.h"
#include "tests/kernels/cuda/support/kernel_case.h"

namespace trainyard::kernels::cuda::testing {

inline std::string Describe(const ConvShape& shape) {
  const auto text = [](int value) { return std::to_string(value); };
  return text(shape.batch) + "x" + text(shape.in_h) + "x" + text(shape.in_w) + "x" +
         text(shape.in_c) + " -> " + text(shape.out_h) + "x" + text(shape.out_w) + "x" +
         text(shape.out_c) + ", kernel " + text(shape.kernel_h) + "x" + text(shape.kernel_w) +
         ", stride " + text(shape.stride_h) + "," + text(shape.stride_w) + ", padding " +
         text(shape.pad_top) + "," + text(shape.pad_left) +
         (shape.groups > 1 ? ", groups " + text(shape.groups) : "");
}

// Sets the output's size so that padding at the bottom and right is what it says (and the input's
// to what the window needs, where it is smaller).
inline void SetOutput(ConvShape& shape, int pad_bottom, int pad_right) {
  shape.in_h = std::max(shape.in_h, shape.kernel_h - shape.pad_top - pad_bottom);
  shape.in_w = std::max(shape.in_w, shape.kernel_w - shape.pad_left - pad_right);
  shape.out_h = (shape.in_h + shape.pad_top + pad_bottom - shape.kernel_h) / shape.stride_h + 1;
  shape.out_w = (shape.in_w + shape.pad_left + pad_right - shape.kernel_w) / shape.stride_w + 1;
}

// Kernels of 1x1 to kernel_max x kernel_max, not square as a rule, strides of 1 to 3, paddings that
// differ on all sides, images of 1x1 to side_max x side_max. Channels are the caller's.
inline ConvShape DrawWindows(Draw& draw, int kernel_max, int side_max) {
  ConvShape shape;
  shape.batch = draw.Between(1, 3);
  shape.in_h = draw.Between(1, side_max), shape.in_w = draw.Between(1, side_max);
  shape.kernel_h = draw.Between(1, kernel_max), shape.kernel_w = draw.Between(1, kernel_max);
  shape.stride_h = draw.Between(1, 3), shape.stride_w = draw.Between(1, 3);
  shape.pad_top = draw.Between(0, shape.kernel_h - 1);
  shape.pad_left = draw.Between(0, shape.kernel_w - 1);
  SetOutput(shape, draw.Between(0, shape.kernel_h - 1), draw.Between(0, shape.kernel_w - 1));
  return shape;
}

// Square windows, "same" padding.
inline ConvShape SameWindows(int batch, int side, int in_c, int out_c, int kernel, int stride) {
  ConvShape shape;
  shape.batch = batch, shape.in_h = shape.in_w = side;
  shape.in_c = in_c, shape.out_c = out_c;
  shape.kernel_h = shape.kernel_w = kernel, shape.stride_h = shape.stride_w = stride;
  shape.pad_top = shape.pad_left = kernel / 2;
  SetOutput(shape, kernel / 2, kernel / 2);
  return shape;
}

}  // namespace trainyard::kernels::cuda::testing
