#include <numeric>

#include "kernels/augment_draws.h"
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/augment_batch.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vectors.h"

namespace trainyard::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kGroupsPerThread = 4;  // so that a block's table and draws serve many pixels

__device__ __forceinline__ ImageDraws Draws(const StepBlock* step, int place,
                                            const ImageBatch& shape) {
  if (step == nullptr) return {};
  return DrawAugmentation({step->seed, step->step, step->flip != 0, step->shift, step->cutout},
                          place, shape.height, shape.width);
}

// Where in its plane the source of output pixel (y, x) lies; -1: nowhere.
__device__ __forceinline__ int Source(const ImageDraws& draws, const ImageBatch& shape, int y,
                                      int x) {
  const bool cut =
      y >= draws.cut_top && y < draws.cut_bottom && x >= draws.cut_left && x < draws.cut_right;
  const int row = y + draws.dy, column = x + draws.dx;
  const bool inside = row >= 0 && row < shape.height && column >= 0 && column < shape.width;
  if (cut || !inside) return -1;
  return row * shape.width + (draws.flip ? shape.width - 1 - column : column);
}

// A block writes up to kThreads * kGroupsPerThread groups of pixels of one image; a thread writes
// one group at a time: kPixels neighbours with all their channels, in 16-byte stores if they fill
// them.
template <typename T, int kChannels, int kPixels>
__global__ void __launch_bounds__(kThreads)
    AugmentFewChannelsKernel(ImageBatch shape, int blocks_per_image,
                             const BatchSource* __restrict__ source,
                             const int32_t* __restrict__ indices, const float* __restrict__ table,
                             const StepBlock* __restrict__ step, T* __restrict__ x) {
  constexpr int kElements = kPixels * kChannels;
  constexpr int kSize = Vector<T>::kSize;
  KERNEL_SHARED(ImageDraws, draws, );
  KERNEL_SHARED(T, values, [kChannels * 256]);
  const int place = blockIdx.x / blocks_per_image;
  const int block = blockIdx.x - place * blocks_per_image;
  if (threadIdx.x == 0) draws = Draws(step, place, shape);
  for (int i = threadIdx.x; i < kChannels * 256; i += kThreads) values[i] = FromFloat<T>(table[i]);
  __syncthreads();

  const int plane = shape.height * shape.width;
  const int groups = plane / kPixels;
  const uint8_t* image = source->pixels + int64_t{indices[place]} * kChannels * plane;
  T* out = x + int64_t{place} * kChannels * plane;
  const int first = block * kThreads * kGroupsPerThread + static_cast<int>(threadIdx.x);
  const int end = min(kThreads * kGroupsPerThread, groups - first);
  for (int group = first, done = 0; done < end; group += kThreads, done += kThreads) {
    int row = group * kPixels / shape.width;
    int column = group * kPixels - row * shape.width;
    alignas(16) T of_group[kElements];
#pragma unroll
    for (int i = 0; i < kPixels; ++i) {
      const int from = Source(draws, shape, row, column);
#pragma unroll
      for (int c = 0; c < kChannels; ++c) {
        // Loaded in any case: no branch keeps the next load waiting.
        const T value = values[c * 256 + image[c * plane + max(from, 0)]];
        of_group[i * kChannels + c] = from < 0 ? FromFloat<T>(0) : value;
      }
      if (++column == shape.width) {
        column = 0;
        ++row;
      }
    }
    T* to = out + group * kElements;
    if constexpr (kElements % kSize == 0) {
#pragma unroll
      for (int i = 0; i < kElements; i += kSize) {
        Vector<T> vector;
#pragma unroll
        for (int j = 0; j < kSize; ++j) vector.at[j] = of_group[i + j];
        Store(to + i, vector);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kElements; ++i) to[i] = of_group[i];
    }
  }
}

// Any number of channels: a thread writes one pixel, through the table in global memory.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    AugmentManyChannelsKernel(ImageBatch shape, int blocks_per_image,
                              const BatchSource* __restrict__ source,
                              const int32_t* __restrict__ indices, const float* __restrict__ table,
                              const StepBlock* __restrict__ step, T* __restrict__ x) {
  KERNEL_SHARED(ImageDraws, draws, );
  const int place = blockIdx.x / blocks_per_image;
  if (threadIdx.x == 0) draws = Draws(step, place, shape);
  __syncthreads();
  const int plane = shape.height * shape.width;
  const int block = blockIdx.x - place * blocks_per_image;
  const int pixel = block * kThreads + static_cast<int>(threadIdx.x);
  if (pixel >= plane) return;
  const int row = pixel / shape.width;
  const int from = Source(draws, shape, row, pixel - row * shape.width);
  const int64_t size = int64_t{shape.channels} * plane;
  const uint8_t* image = source->pixels + indices[place] * size;
  T* to = x + place * size + int64_t{pixel} * shape.channels;
#pragma unroll 4
  for (int c = 0; c < shape.channels; ++c) {
    to[c] = FromFloat<T>(from < 0 ? 0.0f : table[c * 256 + image[c * plane + from]]);
  }
}

template <typename T, int kChannels>
void LaunchFewChannels(const ImageBatch& shape, const BatchSource* source, const int32_t* indices,
                       const float* table, const StepBlock* step, T* x, cudaStream_t stream) {
  constexpr int kSize = Vector<T>::kSize;
  constexpr int kFilling = kSize / std::gcd(kSize, kChannels);  // pixels that fill vectors
  const int plane = shape.height * shape.width;
  const auto launch = [&](auto kernel, int groups) {
    const int blocks_per_image = Blocks(groups, kThreads * kGroupsPerThread);
    CheckIndexable("AugmentBatch", "grid", int64_t{shape.batch} * blocks_per_image);
    Launch(kernel, shape.batch * blocks_per_image, kThreads, 0, stream, shape, blocks_per_image,
           source, indices, table, step, x);
  };
  if (plane % kFilling == 0) {  // so every image starts at a multiple of 16 bytes
    launch(AugmentFewChannelsKernel<T, kChannels, kFilling>, plane / kFilling);
  } else {
    launch(AugmentFewChannelsKernel<T, kChannels, 1>, plane);
  }
}

}  // namespace

template <typename T>
void AugmentBatch(const ImageBatch& shape, const BatchSource* source, const int32_t* indices,
                  const float* table, const StepBlock* step, T* x, cudaStream_t stream) {
  CheckPositive("AugmentBatch", "batch", shape.batch);
  CheckPositive("AugmentBatch", "channels", shape.channels);
  CheckPositive("AugmentBatch", "height", shape.height);
  CheckPositive("AugmentBatch", "width", shape.width);
  CheckIndexable("AugmentBatch", "one image's plane", int64_t{shape.height} * shape.width);
  CheckIndexable("AugmentBatch", "one image", int64_t{shape.height} * shape.width * shape.channels);
  CheckAligned("AugmentBatch", "x", x);
  const auto few = [&](auto launch) { launch(shape, source, indices, table, step, x, stream); };
  switch (shape.channels) {
    case 1:
      return few(LaunchFewChannels<T, 1>);
    case 2:
      return few(LaunchFewChannels<T, 2>);
    case 3:
      return few(LaunchFewChannels<T, 3>);
    case 4:
      return few(LaunchFewChannels<T, 4>);
  }
  const int blocks_per_image = Blocks(shape.height * shape.width, kThreads);
  CheckIndexable("AugmentBatch", "grid", int64_t{shape.batch} * blocks_per_image);
  Launch(AugmentManyChannelsKernel<T>, shape.batch * blocks_per_image, kThreads, 0, stream, shape,
         blocks_per_image, source, indices, table, step, x);
}

template void AugmentBatch(const ImageBatch&, const BatchSource*, const int32_t*, const float*,
                           const StepBlock*, float*, cudaStream_t);
template void AugmentBatch(const ImageBatch&, const BatchSource*, const int32_t*, const float*,
                           const StepBlock*, bf16*, cudaStream_t);

}  // namespace trainyard::kernels::cuda
