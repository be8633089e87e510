// Convolutions by cuDNN, as steps of a plan.
#pragma once

#include "kernels/cuda/conv_steps.h"

namespace trainyard::kernels::cuda {

// As the functions of conv_steps.h. False, and nothing added, where the plan's libraries have no
// deterministic engine for it in the plan's precision.
bool AddCudnnForward(const ConvLayer& layer, Activation activation, Place x, Place y, Plan& plan);
bool AddCudnnBackwardFilter(const ConvLayer& layer, Place x, Place dz, Plan& plan);
bool AddCudnnBackwardData(const ConvLayer& layer, Place dz, bool accumulate, Place dx, Plan& plan);

}  // namespace trainyard::kernels::cuda
