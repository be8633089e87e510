// Cases of kernels/cuda/elementwise.h. `in_place`: the output is the (last) input.
#pragma once

#include <vector>

#include "kernels/cuda/elementwise.h"
#include "tests/kernels/cuda/support/kernel_case.h"

namespace trainyard::kernels::cuda::testing {

template <typename T>
KernelCase ActivationForwardCase(int64_t count, Activation activation, bool in_place,
                                 uint64_t seed);

template <typename T>
KernelCase ActivationBackwardCase(int64_t count, Activation activation, bool accumulate,
                                  bool in_place, uint64_t seed);

template <typename T>
KernelCase AddForwardCase(int64_t count, Activation activation, bool in_place, uint64_t seed);

KernelCase WidenBf16Case(int64_t count, uint64_t seed);

template <typename T>
KernelCase BiasForwardCase(int64_t rows, int channels, Activation activation, bool in_place,
                           uint64_t seed);

// Where BiasBackward leaves dz.
enum class BiasGradient { kNowhere, kApart, kInPlace };
template <typename T>
KernelCase BiasBackwardCase(int64_t rows, int channels, Activation activation, BiasGradient where,
                            uint64_t seed);

// At sizes that fill a GPU.
std::vector<KernelCase> ElementwiseTableCases();

}  // namespace trainyard::kernels::cuda::testing
