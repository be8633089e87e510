// A batch of images from device memory, augmented and normalised as
// kernels/augment.h defines it: the same draws, and the values of its table bit for bit (or rounded
// to bf16).
//
// Source: DeVries and Taylor, "Improved Regularization of CNNs with Cutout", 2017; flips and shifts
// as in He, Zhang, Ren and Sun, "Deep Residual Learning", 2016, section 4.2.
#pragma once

#include <cstdint>

#include "kernels/cuda/runtime.h"
#include "kernels/cuda/step_block.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

struct ImageBatch {
  int batch = 0, channels = 0, height = 0, width = 0;
};

// x[n, y, x', c] = table[c, source->pixels[indices[n], c, y', x'']], where ImageDraws of place n
// say which pixel that is, and zero where there is none.
//
// indices: (batch), each in [0, images): the
// caller has seen to it (CheckBatch in kernels/check.h), the kernel does not know `images`. table:
// NormalisationTable, (channels, 256). step: null for evaluation, which augments nothing. x: NHWC,
// aligned to 16 bytes.
//
// Least to move: each source pixel is read once and each element of x written once, 1 + sizeof(T)
// bytes an element.
template <typename T>
void AugmentBatch(const ImageBatch& shape, const BatchSource* source, const int32_t* indices,
                  const float* table, const StepBlock* step, T* x, cudaStream_t stream);

}  // namespace trainyard::kernels::cuda
