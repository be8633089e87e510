// Convolutions of each channel with a filter of its own, one image a call, one thread.
#pragma once

#include <cstdint>

namespace trainyard::kernels::cpu {

// Images are channels last. The input has its zero border already; output pixel (y, x) reads from
// pixel (y * stride_h, x * stride_w) on. Weights are (tap, channel).
struct Depthwise {
  int channels = 0;  // floats from pixel to pixel, a multiple of 16
  int out_h = 0, out_w = 0;
  int in_w = 0;  // pixels from row to row of the input
  int kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1;
};

// out = conv(in)
void DepthwiseForward(const Depthwise& conv, const float* in, const float* weights, float* out);
// dx += the input's gradient
void DepthwiseData(const Depthwise& conv, const float* dy, const float* weights, float* dx);
// sums += the weights' gradient
void DepthwiseWeights(const Depthwise& conv, const float* in, const float* dy, float* sums);

}  // namespace trainyard::kernels::cpu
