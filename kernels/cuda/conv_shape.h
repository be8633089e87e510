// The shape of a convolution. x: NHWC (batch, in_h, in_w, in_c). y: (batch, out_h, out_w, out_c).
// w: (out_c, kernel_h, kernel_w, in_c / groups), the order "KRSC".
//
//   y[n, p, q, k] = bias[k] + sum over r, s, c of
//       x[n, p stride_h + r - pad_top, q stride_w + s - pad_left, first(k) + c] w[k, r, s, c]
//
// where first(k) = k / (out_c / groups) * (in_c / groups), and pixels outside of x are zero. A
// linear layer is the convolution with the input's height and width as its kernel.
#pragma once

#include <cstdint>

namespace trainyard::kernels::cuda {

struct ConvShape {
  int batch = 0;
  int in_h = 0, in_w = 0, in_c = 0;
  int out_h = 0, out_w = 0, out_c = 0;
  int kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1;
  int pad_top = 0, pad_left = 0;  // bottom and right follow from the output's size
  int groups = 1;

  int64_t in_size() const { return int64_t{batch} * in_h * in_w * in_c; }
  int64_t out_size() const { return int64_t{batch} * out_h * out_w * out_c; }
  int64_t out_pixels() const { return int64_t{batch} * out_h * out_w; }
  // Weights of one filter.
  int64_t depth() const { return int64_t{kernel_h} * kernel_w * (in_c / groups); }
  int64_t weights() const { return out_c * depth(); }
  // Multiply-adds of one pass, times two (padding counted).
  double flops() const {
    return 2.0 * static_cast<double>(out_size()) * static_cast<double>(depth());
  }
};

// Throws Error, naming `kernel` and what was found, unless sizes are positive, groups divide both
// channel counts, no window starts outside of the padded input, and x, y and w have fewer than 2^31
// elements.
void CheckConvShape(const char* kernel, const ConvShape& shape);

// The same sums with fewer taps, where there is such a thing: a kernel as large as the image is one
// tap over all of its values. (Tensors keep their layout: the channels are the innermost of x and
// of w.)
ConvShape FewestTaps(const ConvShape& shape);

}  // namespace trainyard::kernels::cuda
