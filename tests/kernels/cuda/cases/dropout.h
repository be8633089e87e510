// Cases of kernels/cuda/dropout.h.
#pragma once

#include <vector>

#include "kernels/cuda/dropout.h"
#include "tests/kernels/cuda/support/kernel_case.h"

namespace trainyard::kernels::cuda::testing {

struct DropoutCaseShape {
  int batch = 1, pixels = 1, channels = 1;
  float rate = 0.5f;
  bool accumulate = false;
  bool in_place = false;  // y is x; with accumulate, x is added to what it gives
};

// A random seed, step and layer. Without accumulate, every element must be exactly the rounded
// product of x and 0 or the scale.
template <typename T>
KernelCase DropoutCase(const DropoutCaseShape& shape, uint64_t seed);

std::vector<KernelCase> DropoutTableCases();

}  // namespace trainyard::kernels::cuda::testing
