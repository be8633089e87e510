#include <algorithm>
#include <bit>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/divisor.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/pool.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/vectors.h"

namespace trainyard::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// A block makes kThreads / rows outputs (kWidth channels of an image each), which lie side by side
// in y and so, but for the ends of images, in x. `rows` threads share the pixels of an output: each
// takes every rows-th, then they are joined. rows: a power of two.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    GlobalAvgPoolForwardKernel(int outputs, int pixels, Divisor chunks, int rows,
                               const T* __restrict__ x, T* __restrict__ y) {
  const int thread = threadIdx.x, lanes = kThreads / rows;
  const int lane = thread & (lanes - 1), row = thread / lanes;
  const int output = blockIdx.x * lanes + lane;
  Sums<1> sums[kWidth] = {};
  if (output < outputs) {
    const int image = Quotient(output, chunks), channels = chunks.divisor * kWidth;
    const T* from = x + image * pixels * channels + Remainder(output, image, chunks) * kWidth;
#pragma unroll 4
    for (int pixel = row; pixel < pixels; pixel += rows) {
      const Vector<T, kWidth> values = Load<kWidth>(from + pixel * channels);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sums[i].of[0] += ToFloat(values.at[i]);
    }
  }
  JoinLanes<kThreads>(lanes, rows, row, sums);
  if (row > 0 || output >= outputs) return;
  const float share = 1.0f / static_cast<float>(pixels);
  float mean[kWidth];
#pragma unroll
  for (int i = 0; i < kWidth; ++i) mean[i] = sums[i].of[0] * share;
  Store(y + output * kWidth, FromFloats<T>(mean));
}

// A thread for kWidth channels of a pixel of dx; `count`: of them all.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    GlobalAvgPoolBackwardKernel(uint32_t count, Divisor pixels, Divisor chunks,
                                const T* __restrict__ dy, bool accumulate, T* __restrict__ dx) {
  const uint32_t thread = blockIdx.x * kThreads + threadIdx.x;
  if (thread >= count) return;
  const uint32_t pixel = Quotient(thread, chunks), image = Quotient(pixel, pixels);
  const uint32_t chunk = Remainder(thread, pixel, chunks);
  const Vector<T, kWidth> gradient = Load<kWidth>(dy + (image * chunks.divisor + chunk) * kWidth);
  T* const to = dx + thread * kWidth;
  float sum[kWidth];
  Begin(accumulate, to, sum);
  const float share = 1.0f / static_cast<float>(pixels.divisor);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) sum[i] += share * ToFloat(gradient.at[i]);
  Store(to, FromFloats<T>(sum));
}

void CheckShape(const char* kernel, int batch, int pixels, int channels) {
  CheckPositive(kernel, "batch", batch);
  CheckPositive(kernel, "pixels", pixels);
  CheckPositive(kernel, "channels", channels);
  CheckIndexable(kernel, "x", int64_t{batch} * pixels * channels);
}

// How many threads share the pixels of an output: as many as leave each four loads to have in
// flight, but not so many that a block reads less than 128 bytes side by side (where there are).
int Rows(int pixels, int chunks, int chunk_bytes) {
  const int side_by_side = std::min<int>(128 / chunk_bytes, std::bit_ceil<unsigned>(chunks));
  return std::min<int>(kThreads / side_by_side, std::bit_floor<unsigned>(std::max(pixels / 4, 1)));
}

template <typename T, int kWidth>
void LaunchForward(int batch, int pixels, int channels, const T* x, T* y, cudaStream_t stream) {
  const int chunks = channels / kWidth, outputs = batch * chunks;
  const int rows = Rows(pixels, chunks, kWidth * sizeof(T));
  Launch(GlobalAvgPoolForwardKernel<T, kWidth>, Blocks(outputs, kThreads / rows), kThreads, 0,
         stream, outputs, pixels, Divisor(chunks), rows, x, y);
}

template <typename T, int kWidth>
void LaunchBackward(int batch, int pixels, int channels, const T* dy, bool accumulate, T* dx,
                    cudaStream_t stream) {
  const int chunks = channels / kWidth, count = batch * pixels * chunks;
  Launch(GlobalAvgPoolBackwardKernel<T, kWidth>, Blocks(count, kThreads), kThreads, 0, stream,
         count, Divisor(pixels), Divisor(chunks), dy, accumulate, dx);
}

}  // namespace

template <typename T>
void GlobalAvgPoolForward(int batch, int pixels, int channels, const T* x, T* y,
                          cudaStream_t stream) {
  constexpr char kName[] = "GlobalAvgPoolForward";
  CheckShape(kName, batch, pixels, channels);
  CheckAligned(kName, "x", x);
  CheckAligned(kName, "y", y);
  if (channels % Vector<T>::kSize == 0) {
    LaunchForward<T, Vector<T>::kSize>(batch, pixels, channels, x, y, stream);
  } else {
    LaunchForward<T, 1>(batch, pixels, channels, x, y, stream);
  }
}

template <typename T>
void GlobalAvgPoolBackward(int batch, int pixels, int channels, const T* dy, bool accumulate, T* dx,
                           cudaStream_t stream) {
  constexpr char kName[] = "GlobalAvgPoolBackward";
  CheckShape(kName, batch, pixels, channels);
  CheckAligned(kName, "dy", dy);
  CheckAligned(kName, "dx", dx);
  if (channels % Vector<T>::kSize == 0) {
    LaunchBackward<T, Vector<T>::kSize>(batch, pixels, channels, dy, accumulate, dx, stream);
  } else {
    LaunchBackward<T, 1>(batch, pixels, channels, dy, accumulate, dx, stream);
  }
}

template void GlobalAvgPoolForward(int, int, int, const float*, float*, cudaStream_t);
template void GlobalAvgPoolForward(int, int, int, const bf16*, bf16*, cudaStream_t);
template void GlobalAvgPoolBackward(int, int, int, const float*, bool, float*, cudaStream_t);
template void GlobalAvgPoolBackward(int, int, int, const bf16*, bool, bf16*, cudaStream_t);

}  // namespace trainyard::kernels::cuda
