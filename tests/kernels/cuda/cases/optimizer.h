// Cases of kernels/cuda/optimizer.h.
#pragma once

#include <vector>

#include "kernels/cuda/optimizer.h"
#include "tests/kernels/cuda/support/kernel_case.h"

namespace trainyard::kernels::cuda::testing {

// Normal gradients, times `scale`.
KernelCase GradientNormCase(int64_t count, float scale, uint64_t seed);

struct OptimizerSetting {
  int64_t count = 0;
  StepBlock step{};   // corrections are filled in
  int steps = 1;      // one after the other from step.step on, with the same gradients
  double norm = 1;    // as if it were the gradient's
  bool copy = false;  // in bf16
  float spoiler = 0;  // unless zero: one of the gradients
};

// Tensors of random sizes with padding between them, half of which decay. Without AdamW there is no
// second moment.
KernelCase OptimizerCase(const OptimizerSetting& setting, uint64_t seed);

std::vector<KernelCase> OptimizerTableCases();

}  // namespace trainyard::kernels::cuda::testing
