// Types of tensors on the GPU. Activations and their gradients are NHWC, float or bf16; parameters,
// their gradients, moments and statistics are float.
#pragma once

#include <cstdint>

#include "kernels/cuda/bf16.h"
#include "kernels/cuda/runtime.h"
#include "kernels/precision.h"

namespace trainyard::kernels::cuda {

TRAINYARD_HOST_DEVICE float ToFloat(float value) { return value; }

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
