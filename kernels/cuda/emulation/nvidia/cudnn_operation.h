// Operations of cuDNN's graphs, read from their descriptors and checked.
#pragma once

#include <array>
#include <limits>
#include <vector>

#include "kernels/cuda/emulation/nvidia/cudnn_descriptor.h"

namespace trainyard::kernels::cuda::emulation::nvidia {

// Dimensions in cuDNN's order: n, c, h, w, or of filters k, c, r, s. Strides in elements.
struct Tensor {
  int64_t id;
  std::array<int64_t, 4> dims, strides;
  cudnnDataType_t type;
  int64_t alignment;
  bool is_virtual;

  bool bf16() const { return type == CUDNN_DATA_BFLOAT16; }
  int64_t count() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
  bool operator==(const Tensor&) const = default;
};

// Cross-correlation; index 0 is the height.
struct Window {
  std::array<int64_t, 2> pre, post, stride, dilation;
};

struct Operation {
  cudnnBackendDescriptorType_t type;
  // As the documentation's formulas have them: x w -> y; w dy -> dx; x dy -> dw; x [b] -> y;
  // x dy -> dx; x -> sum sqsum.
  std::vector<Tensor> inputs, outputs;
  Window window{};
  cudnnPointwiseMode_t mode{};
  // Convolutions: alpha result + beta output. Pointwise: alpha x + beta b, or with another mode.
  float alpha = 1, beta = 0;
  float lower = 0, upper = std::numeric_limits<float>::infinity(), slope = 0;

  bool IsConvolution() const {
    return type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR ||
           type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR ||
           type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR;
  }
};

// Each throws Refusal where its descriptor, with all that is in it, means nothing or is not had.
void CheckTensor(const Descriptor& tensor);
void CheckConvolution(const Descriptor& convolution);
void CheckPointwise(const Descriptor& pointwise);
Tensor ReadTensor(const Descriptor& tensor);
Operation ReadOperation(const Descriptor& operation);
// The operations of a graph, each after those that it needs.
std::vector<Operation> ReadGraph(const Descriptor& graph);

}  // namespace trainyard::kernels::cuda::emulation::nvidia
