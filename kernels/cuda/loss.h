// Softmax cross-entropy with label smoothing s: the target is (1 - s) [class == label] + s /
// classes (Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016).
#pragma once

#include <cstdint>

#include "kernels/cuda/runtime.h"
#include "kernels/cuda/step_block.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

struct LossResult {
  double loss_sum = 0;  // over the batch
  int64_t correct = 0;  // rows whose first largest logit is the label's
};

// With p = softmax(row): loss = -sum over classes of target log p, gradient = (p - target) / batch,
// that of the mean loss.
//
// logits: (batch, classes). The label of row n is source->labels[indices[n]], an index that the
// caller has checked; a label outside of [0, classes) makes its row's loss and gradient NaN. A NaN
// or infinite logit does so too, and no row with a NaN is correct. step: null for evaluation, which
// smooths nothing. gradient: (batch, classes) or null; may be the logits. workspace:
// LossWorkspaceBytes, aligned to 16 bytes.
//
// A loss close to zero keeps its relative accuracy: it is log1p of the sum of all exponentials but
// the largest, which is one. All sums are in a fixed order.
//
// Least to move: each logit is read once and, with a gradient, written once.
template <typename T>
void SoftmaxCrossEntropy(int batch, int classes, const T* logits, const BatchSource* source,
                         const int32_t* indices, const StepBlock* step, void* workspace,
                         T* gradient, LossResult* result, cudaStream_t stream);

int64_t LossWorkspaceBytes(int batch);

}  // namespace trainyard::kernels::cuda
