// Cases of kernels/cuda/loss.h.
#pragma once

#include <vector>

#include "kernels/cuda/loss.h"
#include "tests/kernels/cuda/support/kernel_case.h"

namespace trainyard::kernels::cuda::testing {

struct LossInput {
  int batch = 0, classes = 0;
  std::vector<float> logits;             // (batch, classes)
  std::vector<int32_t> labels, indices;  // of a data set; (batch) into it
  float smoothing = 0;
  bool evaluation = false;  // no step block
  bool gradient = true, in_place = false;
};

// Normal logits, labels of a data set of a few images.
LossInput DrawLossInput(int batch, int classes, float deviation, uint64_t seed);

template <typename T>
KernelCase LossCase(const LossInput& input);

std::vector<KernelCase> LossTableCases();

}  // namespace trainyard::kernels::cuda::testing
