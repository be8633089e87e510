// Depthwise convolution: every channel has its own filters (groups == in_c; out_c is a multiple of
// it). Bound by memory: no tensor cores. Channels are moved sixteen bytes at a time where out_c ==
// in_c is a multiple of that; 3x3 windows of stride 1 and 2 have kernels of their own.
//
// Source: A. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
// Applications", 2017.
#pragma once

#include "kernels/cuda/conv_shape.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

// Whether these kernels take the shape: groups == in_c > 1, and at most 1024 weights for each input
// channel, (out_c / in_c) kernel_h kernel_w. All others are refused with an Error.
bool DepthwiseTakes(const ConvShape& shape);

// T: float or bf16. All tensors but bias, dw and workspace are aligned to 16 bytes.

// y[n, p, q, k] = activation(bias[k] + sum over r, s of
//     x[n, p stride_h + r - pad_top, q stride_w + s - pad_left, k in_c / out_c] w[k, r, s])
// x: (batch, in_h, in_w, in_c), w: (out_c, kernel_h, kernel_w, 1), bias: (out_c) or null.
// Moves x and y once, and w.
template <typename T>
void DepthwiseForward(const ConvShape& shape, const T* x, const T* w, const float* bias,
                      Activation activation, T* y, cudaStream_t stream);

// dx = (accumulate ? dx : 0) + the derivative of sum(dy conv(x, w)) by x, as a gather:
// dx[n, i, j, c] is the sum over those r, s, k with k in_c / out_c == c, p stride_h == i + pad_top
// - r and q stride_w == j + pad_left - s of dy[n, p, q, k] w[k, r, s]. Moves dy and dx once (dx
// twice where it is added to), and w.
template <typename T>
void DepthwiseBackwardData(const ConvShape& shape, const T* dy, const T* w, bool accumulate, T* dx,
                           cudaStream_t stream);

// dw = the derivative of sum(dy conv(x, w)) by w, in fp32: (out_c, kernel_h, kernel_w, 1). The
// pixels are cut into pieces by the shape alone, whose partial sums go through the workspace and
// are added in a fixed order. Moves x and dy once.
template <typename T>
void DepthwiseBackwardFilter(const ConvShape& shape, const T* x, const T* dy, float* workspace,
                             float* dw, cudaStream_t stream);

// Floats that DepthwiseBackwardFilter works in.
int64_t DepthwiseBackwardFilterWorkspace(const ConvShape& shape);

}  // namespace trainyard::kernels::cuda
