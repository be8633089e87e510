// One optimizer step over the flat span of parameters: SGD with momentum and Nesterov's correction,
// or AdamW, as network/training.h defines them.
//
// Source: Sutskever, Martens, Dahl and Hinton, "On the Importance of Initialization and Momentum in
// Deep Learning", 2013; Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019;
// Pascanu, Mikolov and Bengio, "On the Difficulty of Training Recurrent Neural Networks", 2013
// (clipping by the norm).
#pragma once

#include <cstdint>

#include "kernels/cuda/runtime.h"
#include "kernels/cuda/step_block.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

// Spans are multiples of this many elements, and so is every tensor's place in them; what lies
// between is zero and stays zero.
constexpr int kSpanBlock = 64;

// norm = sqrt(sum of gradients[i]^2), squared and added in double: no gradient is too large or too
// small for it. Two stages in a fixed order. workspace: GradientNormWorkspace doubles. gradients
// (count, a multiple of kSpanBlock): aligned to 16 bytes.
//
// Least to move: 4 bytes an element.
void GradientNorm(const float* gradients, int64_t count, double* workspace, double* norm,
                  cudaStream_t stream);
int64_t GradientNormWorkspace(int64_t count);

// Aligned to 16 bytes, `count` elements (a multiple of kSpanBlock) each.
struct OptimizerSpans {
  int64_t count = 0;
  const float* gradients = nullptr;
  const uint8_t* decays = nullptr;  // (count / kSpanBlock): whether weight decay holds there
  float *parameters = nullptr, *moment1 = nullptr;
  float* moment2 = nullptr;  // touched by AdamW only; SGD may have null
  bf16* copy = nullptr;      // the parameters in low precision, or null
};

// Clips, decays, updates and copies, in one pass. With decay = weight_decay where `decays`, else 0:
//   g = gradient * (clip_norm > 0 and norm > clip_norm ? clip_norm / norm : 1)
//   SGD:    g += decay w;  m = momentum m + g;  w -= lr (nesterov ? g + momentum m : m)
//   AdamW:  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//           w -= lr (m / correction1 / (sqrt(v / correction2) + epsilon) + decay w)
// As defined in kernels/reference/optimizer.cc, a NaN norm clips nothing and an infinite one clips
// to zero; a NaN gradient makes its parameter NaN in either case, and so does an infinite one that
// is clipped. epsilon is above zero.
//
// Least to move, in bytes an element: SGD 20 (reads g, w, m; writes w, m), AdamW 28 (also reads and
// writes v), 2 more with the copy; and a byte a block.
void OptimizerStep(const StepBlock* step, const double* norm, const OptimizerSpans& spans,
                   cudaStream_t stream);

}  // namespace trainyard::kernels::cuda
