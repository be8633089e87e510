// Max, average and global average pools, NHWC. Windows are clipped to the image: padded pixels are
// no candidates for the maximum and not counted in the mean.
//
// Source: Scherer, Müller and Behnke, "Evaluation of Pooling Operations in Convolutional
// Architectures", 2010; Lin, Chen and Yan, "Network in Network", 2013 (the global pool).
//
// Every launcher refuses (Error) empty tensors, tensors of 2^31 elements or more, pointers that are
// not aligned to 16 bytes, and shapes with a window that lies in the padding only.
#pragma once

#include <cstdint>

#include "kernels/cuda/runtime.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

// x and dx are (batch, in_h, in_w, channels), y and dy (batch, out_h, out_w, channels). The window
// of output (y, x) is the rows y stride_h - pad_top .. + kernel_h - 1 and the columns likewise, as
// far as they are in the image. Pixels after the last window are in none.
struct PoolShape {
  int batch = 0, channels = 0;
  int in_h = 0, in_w = 0, out_h = 0, out_w = 0;
  int kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1;
  int pad_top = 0, pad_left = 0;
  int64_t in_size() const { return int64_t{batch} * in_h * in_w * channels; }
  int64_t out_size() const { return int64_t{batch} * out_h * out_w * channels; }
};

// Bytes that a max pool keeps from forward to backward: where each maximum stood in its window, as
// ky kernel_w + kx. One byte for each element of y where a window has at most 256 cells, two up to
// 65536; larger windows are refused.
int64_t MaxPoolIndexBytes(const PoolShape& shape);

// y = the largest of each window; the first in scan order wins, a NaN over everything. index: null
// for evaluation. Moves x, y and the index once: for 2x2 windows of T, in_size (5/4 sizeof(T) +
// 1/4) bytes.
template <typename T>
void MaxPoolForward(const PoolShape& shape, const T* x, T* y, void* index, cudaStream_t stream);

// dx = (accumulate ? dx : 0) + the sum of the dy whose maximum stood there. Every input pixel looks
// at the windows that hold it, in scan order: no atomics. Moves dy, the index and dx (twice with
// accumulate) once.
template <typename T>
void MaxPoolBackward(const PoolShape& shape, const void* index, const T* dy, bool accumulate, T* dx,
                     cudaStream_t stream);

// y = the mean of each window's pixels inside of the image. Moves x and y once.
template <typename T>
void AvgPoolForward(const PoolShape& shape, const T* x, T* y, cudaStream_t stream);

// dx = (accumulate ? dx : 0) + the sum over the windows that hold the pixel, in scan order, of
// dy / pixels of that window. Moves dy and dx (twice with accumulate) once.
template <typename T>
void AvgPoolBackward(const PoolShape& shape, const T* dy, bool accumulate, T* dx,
                     cudaStream_t stream);

// y[n, c] = mean over `pixels` of x[n, pixel, c]. Moves x and y once. The sum's order depends on
// the shape alone: threads take every `rows`-th pixel, then a tree adds the threads.
template <typename T>
void GlobalAvgPoolForward(int batch, int pixels, int channels, const T* x, T* y,
                          cudaStream_t stream);

// dx[n, pixel, c] = (accumulate ? dx[n, pixel, c] : 0) + dy[n, c] / pixels. Moves dy and dx (twice
// with accumulate) once.
template <typename T>
void GlobalAvgPoolBackward(int batch, int pixels, int channels, const T* dy, bool accumulate, T* dx,
                           cudaStream_t stream);

}  // namespace trainyard::kernels::cuda
