// Execution of cuDNN's plans on the emulated machine.
#pragma once

#include <vector>

#include "kernels/cuda/emulation/nvidia/cudnn_engine.h"

namespace trainyard::kernels::cuda::emulation::nvidia {

// Enqueues `plan` on `stream` with the tensors and the workspace of `pack`. Throws Refusal.
void Execute(const Descriptor& plan, const Descriptor& pack, void* stream);

// A tensor's elements as floats in the order n, h, w, c (filters: k, r, s, c).
using Values = std::vector<float>;

// A convolution whose operands are `inputs`, as floats. `sums`: WorkspaceBytes of it.
Values Convolve(const Operation& operation, const Values& first, const Values& second, float* sums);
// Outputs of any other operation, before they are rounded to their types.
std::vector<Values> Combine(const Operation& operation, const std::vector<const Values*>& inputs);

}  // namespace trainyard::kernels::cuda::emulation::nvidia
