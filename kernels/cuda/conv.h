// Convolution of any shape (kernels/cuda/conv_shape.h) as an implicit matrix product, in all three
// directions: for machines without cuDNN and for what it refuses. Linear layers too.
//
// No matrix of patches is ever stored: tiles of it are gathered on their way to shared memory, with
// zeros for padding, and multiplied there (kernels/cuda/conv_tile.h). Each kernel must read its two
// inputs once and write its output once; tiles re-read inputs through the caches, x and dy once per
// 64 (small tiles: 32) channels of the output.
//
// Source: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014.
#pragma once

#include "kernels/cuda/conv_shape.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

// T: float with kFp32 or kTf32, bf16 with kBf16 (anything else throws Error). x, w, y, dx and dy
// are aligned to 16 bytes. Loads are of 16 bytes where the channels of a group (in the backward
// passes, its filters as well) are a multiple of 4 floats or 8 bf16. A grid holds at most 65535
// groups. A product with padding's zero is made: an infinite weight gives NaN there.

// y = activation(conv(x, w) + bias). bias: (out_c), or null.
// Rows of the product: pixels of y. Columns: filters. Depth: (r, s, c).
template <typename T>
void ConvForward(const ConvShape& shape, Precision precision, const T* x, const T* w,
                 const float* bias, Activation activation, T* y, cudaStream_t stream);

// dx = (accumulate ? dx : 0) + the derivative of sum(dy conv(x, w)) by x:
//   dx[n, h, w, c] = sum over r, s, k of dy[n, (h + pad_top - r) / stride_h, ..., k] w[k, r, s, c]
// over the taps whose division leaves no rest. Pixels with the same rests see the same taps: they
// are the rows of one product per rest, so that none of its depth (r, s, k) is wasted.
template <typename T>
void ConvBackwardData(const ConvShape& shape, Precision precision, const T* dy, const T* w,
                      bool accumulate, T* dx, cudaStream_t stream);

// dw = the derivative of sum(dy conv(x, w)) by w, in KRSC:
//   dw[k, r, s, c] = sum over n, p, q of dy[n, p, q, k] x[n, p stride_h + r - pad_top, ..., c]
// Rows of the product: filters. Columns: (r, s, c). Depth: pixels of y, cut into pieces by the
// shape alone, whose partial sums are added in a fixed order by a second kernel.
template <typename T>
void ConvBackwardFilter(const ConvShape& shape, Precision precision, const T* x, const T* dy,
                        float* workspace, float* dw, cudaStream_t stream);

// Floats that ConvBackwardFilter works in; 0 where there is one piece, and workspace may be null.
int64_t ConvBackwardFilterWorkspace(const ConvShape& shape);

}  // namespace trainyard::kernels::cuda
