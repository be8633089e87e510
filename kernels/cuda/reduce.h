// Sums over a warp or a block in a fixed order, so that the same values give the same bits whenever
// and wherever they are added. For kernel sources only.
#pragma once

#include "kernels/cuda/instructions.h"

namespace trainyard::kernels::cuda {

// operation(a, b) over kLanes neighbouring lanes (a power of two), each of which gets the result
// (the same bits, where operation(a, b) is operation(b, a)). The whole warp must come here.
template <int kLanes, typename T, typename Operation>
__device__ __forceinline__ T OverLanes(T value, Operation operation) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    value = operation(value, __shfl_xor_sync(kFullWarp, value, distance));
  }
  return value;
}

template <typename T>
__device__ __forceinline__ T WarpSum(T value) {
  return OverLanes<32>(value, [](T a, T b) { return a + b; });
}

// Thread 0 gets the sum over a block of kThreads (a multiple of 32, at most 1024) in x. Barriers
// inside: all threads must come here, and may come again at once.
template <int kThreads, typename T>
__device__ __forceinline__ T BlockSum(T value) {
  static_assert(kThreads % 32 == 0 && kThreads <= 1024);
  KERNEL_SHARED(T, of_warp, [kThreads / 32]);
  value = WarpSum(value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x < 32) {
    value = threadIdx.x < kThreads / 32 ? of_warp[threadIdx.x] : T{0};
    value = WarpSum(value);
  }
  return value;
}

// kCount sums of the same terms' parts.
template <int kCount>
struct Sums {
  float of[kCount];

  __device__ __forceinline__ void Join(const Sums& other) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) of[i] += other.of[i];
  }
};

// Joins the values of a block's lanes (thread = lane * width + column), so that those of lane 0 are
// the sums over all `height` lanes. Value: as Sums; a value-initialised one is the sum of nothing.
// Barriers inside: every thread must come here; once a kernel.
template <int kThreads, int kSize, typename Value>
__device__ __forceinline__ void JoinLanes(int width, int height, int lane, Value (&values)[kSize]) {
  KERNEL_SHARED(Value, of_thread, [kSize][kThreads]);  // each written once at most
  int half = 1;
  while (2 * half < height) half *= 2;
  for (; half > 0; half /= 2) {
    if (lane >= half && lane < min(2 * half, height)) {
#pragma unroll
      for (int i = 0; i < kSize; ++i) of_thread[i][threadIdx.x] = values[i];
    }
    __syncthreads();
    if (lane < half && lane + half < height) {
#pragma unroll
      for (int i = 0; i < kSize; ++i) values[i].Join(of_thread[i][threadIdx.x + half * width]);
    }
  }
}

}  // namespace trainyard::kernels::cuda
