// Cases of kernels/cuda/augment_batch.h.
#pragma once

#include <vector>

#include "kernels/cuda/augment_batch.h"
#include "tests/kernels/cuda/support/kernel_case.h"

namespace trainyard::kernels::cuda::testing {

// Random images, the table of random normalisation, and the definition of kernels/augment_draws.h
// pixel by pixel. step: null for evaluation.
template <typename T>
KernelCase AugmentBatchCase(const ImageBatch& shape, const StepBlock* step, uint64_t seed);

std::vector<KernelCase> AugmentBatchTableCases();

}  // namespace trainyard::kernels::cuda::testing
