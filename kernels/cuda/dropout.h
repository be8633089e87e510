// Dropout, by the Philox number (kernels/philox.h) at the element's place in the canonical NCHW
// order, so that the mask is that of every other backend.
//
// Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
// 2014, scaled in training; the numbers, Salmon et al., 2011.
#pragma once

#include <cstdint>

#include "kernels/cuda/runtime.h"
#include "kernels/cuda/step_block.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

// y = (accumulate ? y : 0) + x * (keep ? scale : 0), so that a NaN that is dropped stays one.
// keep: RandomWord(DropoutStream(step->seed, step->step, layer), element) >= rate->threshold, with
// element = (n * channels + c) * pixels + pixel.
//
// x, y: NHWC (batch, pixels, channels), fewer than 2^31 elements, aligned to 16 bytes. `layer`:
// Op::layer. y may be x. The derivative is the same function, of dy. No mask is kept: it is
// computed again. Moves x and y (twice with accumulate) once. Refuses (Error) empty tensors and
// larger ones.
template <typename T>
void Dropout(int batch, int pixels, int channels, const T* x, const StepBlock* step, int layer,
             const DropoutRate* rate, bool accumulate, T* y, cudaStream_t stream);

}  // namespace trainyard::kernels::cuda
