// Cases of kernels/cuda/pool.h.
#pragma once

#include <vector>

#include "kernels/cuda/pool.h"
#include "tests/kernels/cuda/support/kernel_case.h"

namespace trainyard::kernels::cuda::testing {

// Few different values, so that windows have ties, and NaN and infinities among them. With the
// index, or without it as in evaluation.
template <typename T>
KernelCase MaxPoolForwardCase(const PoolShape& shape, bool with_index, uint64_t seed);

template <typename T>
KernelCase MaxPoolBackwardCase(const PoolShape& shape, bool accumulate, uint64_t seed);

template <typename T>
KernelCase AvgPoolForwardCase(const PoolShape& shape, uint64_t seed);

template <typename T>
KernelCase AvgPoolBackwardCase(const PoolShape& shape, bool accumulate, uint64_t seed);

template <typename T>
KernelCase GlobalAvgPoolForwardCase(int batch, int pixels, int channels, uint64_t seed);

template <typename T>
KernelCase GlobalAvgPoolBackwardCase(int batch, int pixels, int channels, bool accumulate,
                                     uint64_t seed);

// Windows of kernel x kernel, as many as fit.
PoolShape SquarePool(int batch, int size, int channels, int kernel, int stride, int pad);

std::vector<KernelCase> PoolTableCases();

}  // namespace trainyard::kernels::cuda::testing
