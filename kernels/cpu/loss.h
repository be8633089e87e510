// Softmax cross-entropy of a batch of logits, and its gradient.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"
#include "kernels/cpu/simd/loss_row.h"

namespace trainyard::kernels::cpu {

struct LossInput {
  const ImageSet* images = nullptr;
  std::span<const int32_t> indices;  // image of each row
  int classes = 0;
  float smoothing = 0;  // label smoothing s: the target is (1 - s) [class == label] + s / classes
};

struct BatchLoss {
  double sum = 0;  // over the batch, not divided
  int64_t correct = 0;
};

// `logits` and `gradient` are rows as loss_row.h wants them; `gradient`, of the mean loss, may be
// null. `rows` is scratch for one a row.
BatchLoss SoftmaxCrossEntropy(const LossInput& input, const float* logits, float* gradient,
                              RowLoss* rows);

}  // namespace trainyard::kernels::cpu
