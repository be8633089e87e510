// Elements as NVIDIA's libraries read and write them: float or bf16 in memory, float in sums.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cuda/bf16.h"

namespace trainyard::kernels::cuda::emulation::nvidia {

// The operand that a tensor core sees of a float: 10 bits of mantissa, to the nearest, ties away
// from zero, as `cvt.rna.tf32.f32` rounds. NaN and infinities stay.
inline float ToTf32(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;
  bits = (bits + 0x1000u) & 0xffffe000u;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float RoundToBf16(float value) { return ToFloat(ToBf16(value)); }

inline float LoadElement(const void* array, int64_t index, bool is_bf16) {
  return is_bf16 ? ToFloat(static_cast<const bf16*>(array)[index])
                 : static_cast<const float*>(array)[index];
}
inline void StoreElement(void* array, int64_t index, bool is_bf16, float value) {
  if (is_bf16) {
    static_cast<bf16*>(array)[index] = ToBf16(value);
  } else {
    static_cast<float*>(array)[index] = value;
  }
}

inline bool IsAligned(const void* pointer, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % static_cast<uintptr_t>(bytes) == 0;
}

}  // namespace trainyard::kernels::cuda::emulation::nvidia
