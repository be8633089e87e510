// Cases of kernels/cuda/first_conv.h.
#pragma once

#include "kernels/cuda/first_conv.h"
#include "tests/kernels/cuda/support/kernel_case.h"

namespace trainyard::kernels::cuda::testing {

template <typename T>
KernelCase FirstConvForwardCase(const ConvShape& shape, bool bias, Activation activation,
                                uint64_t seed);
template <typename T>
KernelCase FirstConvBackwardFilterCase(const ConvShape& shape, uint64_t seed);

std::vector<KernelCase> FirstConvTableCases();

}  // namespace trainyard::kernels::cuda::testing
