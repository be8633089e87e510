// The second stage of a sum over pixels: the pieces' partial sums, added in a fixed order. For
// kernel sources only.
#pragma once

#include <cstdint>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/launch.h"

namespace trainyard::kernels::cuda {

constexpr int kAddWidth = 32, kAddSlices = 16;

// sum[i] = the sum over j of partial[j][i]: a slice of threads takes every 16th piece, and the
// slices are added in order. Moves `pieces` count + count floats.
template <typename T>
__global__ void __launch_bounds__(kAddWidth* kAddSlices)
    AddPiecesKernel(const T* __restrict__ partial, int pieces, int64_t count, T* __restrict__ sum) {
  KERNEL_SHARED(T, of_slice, [kAddSlices][kAddWidth]);
  const int64_t i = int64_t{blockIdx.x} * kAddWidth + threadIdx.x;
  T total = 0;
  if (i < count) {
#pragma unroll 4
    for (int piece = threadIdx.y; piece < pieces; piece += kAddSlices) {
      total += partial[piece * count + i];
    }
  }
  of_slice[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y != 0 || i >= count) return;
#pragma unroll
  for (int slice = 1; slice < kAddSlices; ++slice) total += of_slice[slice][threadIdx.x];
  sum[i] = total;
}

inline void AddPieces(const float* partial, int pieces, int64_t count, float* sum,
                      cudaStream_t stream) {
  Launch(AddPiecesKernel<float>, Blocks(count, kAddWidth), dim3(kAddWidth, kAddSlices), 0, stream,
         partial, pieces, count, sum);
}

}  // namespace trainyard::kernels::cuda
