// The network's first convolution: 1 to 4 channels in, where cuDNN has no fast engine. In bf16 on
// tensor cores. There is no backward-data: nobody asks for the gradient of an image.
//
// An implicit matrix product whose depth is a whole window: a block stages the patch of x that a
// tile of output pixels sees in shared memory, once, and gathers the windows from there.
//
// Source: K. Chellapilla et al., "High Performance Convolutional Neural Networks for Document
// Processing", 2006 (windows as rows of a matrix); S. Chetlur et al., "cuDNN: Efficient Primitives
// for Deep Learning", 2014 (without ever writing that matrix to memory).
#pragma once

#include "kernels/cuda/conv_shape.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

// Whether these kernels take the shape: in_c <= 4, one group, at most 256 weights a filter. All
// others are refused with an Error.
bool FirstConvTakes(const ConvShape& shape);

// T: float (fp32 products) or bf16. x, y and dy are aligned to 16 bytes.

// y[n, p, q, k] = activation(bias[k] + sum over r, s, c of
//     x[n, p stride_h + r - pad_top, q stride_w + s - pad_left, c] w[k, r, s, c])
// x: (batch, in_h, in_w, in_c), w: (out_c, kernel_h, kernel_w, in_c), bias: (out_c) or null.
// Moves x and y once, and w.
template <typename T>
void FirstConvForward(const ConvShape& shape, const T* x, const T* w, const float* bias,
                      Activation activation, T* y, cudaStream_t stream);

// dw = the derivative of sum(dy conv(x, w)) by w, in fp32, as w is laid out. The pixels are cut
// into pieces by the shape alone, whose partial sums go through the workspace and are added in a
// fixed order. Moves x and dy once.
template <typename T>
void FirstConvBackwardFilter(const ConvShape& shape, const T* x, const T* dy, float* workspace,
                             float* dw, cudaStream_t stream);

// Floats that FirstConvBackwardFilter works in.
int64_t FirstConvBackwardFilterWorkspace(const ConvShape& shape);

}  // namespace trainyard::kernels::cuda
