// bf16 on host and device, without the CUDA runtime.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#define TRAINYARD_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define TRAINYARD_HOST_DEVICE inline
#endif

namespace trainyard::kernels::cuda {

// The upper half of a float: 8 bits of exponent, 7 of mantissa.
struct bf16 {
  uint16_t bits;
};

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

}  // namespace trainyard::kernels::cuda
