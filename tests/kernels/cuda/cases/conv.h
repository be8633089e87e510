// Cases of kernels/cuda/conv.h.
#pragma once

#include <vector>

#include "kernels/cuda/conv.h"
#include "tests/kernels/cuda/support/kernel_case.h"

namespace trainyard::kernels::cuda::testing {

// Relative L2 that a product in `precision` may be off.
double ConvTolerance(Precision precision);

template <typename T>
KernelCase ConvForwardCase(const ConvShape& shape, Precision precision, bool bias,
                           Activation activation, uint64_t seed);
template <typename T>
KernelCase ConvBackwardDataCase(const ConvShape& shape, Precision precision, bool accumulate,
                                uint64_t seed);
template <typename T>
KernelCase ConvBackwardFilterCase(const ConvShape& shape, Precision precision, uint64_t seed);

// All three passes on shapes that fill a GPU.
std::vector<KernelCase> ConvTableCases();

}  // namespace trainyard::kernels::cuda::testing
