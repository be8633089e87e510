// Softmax cross-entropy of one row of logits, and its gradient, on one thread.
#pragma once

#include <cstdint>

namespace trainyard::kernels::cpu {

// `logits` and `gradient` are Padded(classes) floats (layout.h); what stands in the padding of the
// logits does not matter, that of the gradient becomes zeros.
struct LossRow {
  int classes = 0, label = 0;
  double on = 0, off = 0;  // the target of the label, and of each other class
  double batch = 0;        // rows that the gradient's loss is the mean of
  const float* logits = nullptr;
  float* gradient = nullptr;  // null: not wanted
};

struct RowLoss {
  double loss = 0;
  int64_t correct = 0;  // 1 where the label is the first of the largest logits
};

// A logit that is not finite makes loss and gradient NaN.
RowLoss LossOfRow(const LossRow& row);

}  // namespace trainyard::kernels::cpu
