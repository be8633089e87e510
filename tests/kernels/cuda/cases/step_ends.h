// Cases of kernels/cuda/step_ends.h.
#pragma once

#include <vector>

#include "kernels/cuda/step_ends.h"
#include "tests/kernels/cuda/support/kernel_case.h"

namespace trainyard::kernels::cuda::testing {

// `bytes` of row `row` of `rows`, each of random bytes.
KernelCase BeginStepCase(int rows, int row, int row_bytes, int bytes, uint64_t seed);
// Outcome `row` of `rows`; the others and the cursor tell that nothing else was touched.
KernelCase EndStepCase(int rows, int row, bool training);

std::vector<KernelCase> StepEndsTableCases();

}  // namespace trainyard::kernels::cuda::testing
