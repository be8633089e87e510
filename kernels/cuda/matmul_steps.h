// Dense layers by cuBLASLt, as steps of a plan.
#pragma once

#include "kernels/cuda/conv_steps.h"

namespace trainyard::kernels::cuda {

// Whether the layer is one matrix product: one output pixel that sees all of the image.
bool IsMatmul(const ConvLayer& layer);

// As the functions of conv_steps.h, for layers that are one. False, and nothing added, where the
// plan's libraries have no deterministic algorithm for it in the plan's precision.
bool AddMatmulForward(const ConvLayer& layer, Activation activation, Place x, Place y, Plan& plan);
bool AddMatmulBackwardFilter(const ConvLayer& layer, Place x, Place dz, Plan& plan);
bool AddMatmulBackwardData(const ConvLayer& layer, Place dz, bool accumulate, Place dx, Plan& plan);

}  // namespace trainyard::kernels::cuda
