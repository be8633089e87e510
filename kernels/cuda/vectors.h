// Loads and stores of neighbouring elements, each by one instruction. For kernel sources only.
#pragma once

#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

template <int kSize, typename T>
__device__ __forceinline__ Vector<T, kSize> Load(const T* from) {
  return *reinterpret_cast<const Vector<T, kSize>*>(from);
}

// The first `count` elements one by one, and zeros after them, unless all are there.
template <int kSize, typename T>
__device__ __forceinline__ Vector<T, kSize> Load(const T* from, int count) {
  if (count == kSize) return Load<kSize>(from);
  Vector<T, kSize> vector;
#pragma unroll
  for (int i = 0; i < kSize; ++i) vector.at[i] = i < count ? from[i] : T{};
  return vector;
}

template <typename T, int kSize>
__device__ __forceinline__ void Store(T* to, const Vector<T, kSize>& vector) {
  *reinterpret_cast<Vector<T, kSize>*>(to) = vector;
}

template <typename T, int kSize>
__device__ __forceinline__ void Store(T* to, const Vector<T, kSize>& vector, int count) {
  if (count == kSize) return Store(to, vector);
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    if (i < count) to[i] = vector.at[i];
  }
}

// Sums end here, rounded,
template <typename T, int kSize>
__device__ __forceinline__ Vector<T, kSize> FromFloats(const float (&values)[kSize]) {
  Vector<T, kSize> vector;
#pragma unroll
  for (int i = 0; i < kSize; ++i) vector.at[i] = FromFloat<T>(values[i]);
  return vector;
}

// and begin here: at zero, or at what is there (the first `count`).
template <typename T, int kSize>
__device__ __forceinline__ void Begin(bool accumulate, const T* from, float (&sum)[kSize],
                                      int count = kSize) {
  Vector<T, kSize> before{};
  if (accumulate) before = Load<kSize>(from, count);
#pragma unroll
  for (int i = 0; i < kSize; ++i) sum[i] = ToFloat(before.at[i]);
}

}  // namespace trainyard::kernels::cuda
