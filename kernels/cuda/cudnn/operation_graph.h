// A ConvGraph as cuDNN's operation graph.
#pragma once

#include "kernels/cuda/cudnn/conv_graph.h"
#include "kernels/cuda/cudnn/descriptor.h"

namespace trainyard::kernels::cuda {

// Under which number each tensor goes in a graph and in what it is executed with.
enum TensorId : int64_t { kTensorX = 1, kTensorW, kTensorY, kTensorBias, kTensorInside };

// Finalised. `handle`: null where only a plan is wanted, for a device that is described. Throws
// Error, with cuDNN's reason, where the shape is none.
Descriptor MakeOperationGraph(const ConvGraph& graph, cudnnHandle_t handle);

}  // namespace trainyard::kernels::cuda
