// Cases of kernels/cuda/depthwise_conv.h.
#pragma once

#include "kernels/cuda/depthwise_conv.h"
#include "tests/kernels/cuda/support/kernel_case.h"

namespace trainyard::kernels::cuda::testing {

template <typename T>
KernelCase DepthwiseForwardCase(const ConvShape& shape, bool bias, Activation activation,
                                uint64_t seed);
template <typename T>
KernelCase DepthwiseBackwardDataCase(const ConvShape& shape, bool accumulate, uint64_t seed);
template <typename T>
KernelCase DepthwiseBackwardFilterCase(const ConvShape& shape, uint64_t seed);

std::vector<KernelCase> DepthwiseTableCases();

}  // namespace trainyard::kernels::cuda::testing
