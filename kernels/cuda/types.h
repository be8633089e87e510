// Types of tensors on the GPU. Activations and their gradients are NHWC, float or bf16; parameters,
// their gradients, moments and statistics are float.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cuda/runtime.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#define TRAINYARD_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define TRAINYARD_HOST_DEVICE inline
#endif

namespace trainyard::kernels::cuda {

// How matrix products are made. All accumulate in fp32.
enum class Precision {
  kFp32,  // float tensors, fp32 products: the yardstick
  kTf32,  // float tensors, products of operands rounded to 10 bits, on tensor cores
  kBf16,  // bf16 activations and packed weights, on tensor cores
};

// The upper half of a float: 8 bits of exponent, 7 of mantissa.
struct bf16 {
  uint16_t bits;
};

TRAINYARD_HOST_DEVICE float ToFloat(float value) { return value; }

TRAINYARD_HOST_DEVICE float ToFloat(bf16 value) {
  const uint32_t bits = uint32_t{value.bits} << 16;
  float wide;
  memcpy(&wide, &bits, sizeof wide);
  return wide;
}

// Rounds to the nearest, ties to even; NaN stays NaN.
TRAINYARD_HOST_DEVICE bf16 ToBf16(float value) {
#if defined(__CUDA_ARCH__)
  return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
#else
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16)};
#endif
}

template <typename T>
TRAINYARD_HOST_DEVICE T FromFloat(float value);
template <>
TRAINYARD_HOST_DEVICE float FromFloat<float>(float value) {
  return value;
}
template <>
TRAINYARD_HOST_DEVICE bf16 FromFloat<bf16>(float value) {
  return ToBf16(value);
}

// Neighbours in memory, moved by one instruction: sixteen bytes of T (and what belongs to them, of
// other types), or one element where vectors do not fit. Their address must be a multiple of their
// size.
template <typename T, int kCount = 16 / sizeof(T)>
struct alignas(kCount * sizeof(T)) Vector {
  static constexpr int kSize = kCount;
  T at[kCount];
};

// Leaky where slope > 0; off: the value itself. NaN stays NaN.
struct Activation {
  bool on = false;
  float slope = 0;  // in [0, 1), so that the sign of the output is the sign of the input
};

TRAINYARD_HOST_DEVICE float Activate(Activation activation, float value) {
  return !activation.on || value > 0 ? value : activation.slope * value;
}

// The gradient before an activation from the gradient after it. `output`: what Activate gave.
TRAINYARD_HOST_DEVICE float BeforeActivation(Activation activation, float output, float gradient) {
  return !activation.on || output > 0 ? gradient : activation.slope * gradient;
}

}  // namespace trainyard::kernels::cuda
