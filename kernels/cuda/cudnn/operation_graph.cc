#include "kernels/cuda/cudnn/operation_graph.h"

#include <utility>

namespace trainyard::kernels::cuda {
namespace {

using Sizes = std::vector<int64_t>;

// Where a tensor of the graph lies: in memory, or nowhere, since it goes from one operation of the
// graph to the next.
enum class Lies { kInMemory, kInside };

// `nchw`: sizes in cuDNN's order. In memory the channels are the innermost.
Descriptor Tensor(int64_t id, const char* name, const Sizes& nchw, cudnnDataType_t type,
                  Lies lies = Lies::kInMemory) {
  const int64_t c = nchw[1], h = nchw[2], w = nchw[3];
  Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR, name);
  tensor.Set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id)
      .Set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
      .Set(CUDNN_ATTR_TENSOR_DIMENSIONS, nchw)
      .Set(CUDNN_ATTR_TENSOR_STRIDES, Sizes{h * w * c, 1, w * c, c})
      .Set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, int64_t{16})
      .Set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, lies == Lies::kInside);
  return std::move(tensor.Finalize());
}

Descriptor Windows(const ConvShape& s) {
  const PostPadding post = PostPaddingOf(s);
  Descriptor windows(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, "the convolution's windows");
  windows.Set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2})
      .Set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT)
      .Set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION)
      .Set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, Sizes{s.pad_top, s.pad_left})
      .Set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, Sizes{post.bottom, post.right})
      .Set(CUDNN_ATTR_CONVOLUTION_DILATIONS, Sizes{1, 1})
      .Set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, Sizes{s.stride_h, s.stride_w});
  return std::move(windows.Finalize());
}

// The attributes of a convolution operation, which differ by pass.
struct ConvAttributes {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t windows, x, w, y, alpha, beta;
};

ConvAttributes AttributesOf(ConvPass pass) {
  switch (pass) {
    case ConvPass::kBackwardFilter:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
    case ConvPass::kBackwardData:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    case ConvPass::kForward:
      break;
  }
  return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
}

Descriptor Convolution(const ConvGraph& graph, const Descriptor& x, const Descriptor& w,
                       const Descriptor& y) {
  const ConvAttributes at = AttributesOf(graph.pass);
  // What an attribute names must be there until the descriptor is finalised.
  const Descriptor windows = Windows(graph.shape);
  Descriptor operation(at.type, "the convolution");
  operation.Set(at.windows, windows)
      .Set(at.x, x)
      .Set(at.w, w)
      .Set(at.y, y)
      .Set(at.alpha, 1.0f)
      .Set(at.beta, graph.accumulate ? 1.0f : 0.0f);
  return std::move(operation.Finalize());
}

// to = mode(from), or mode(from, second).
Descriptor Pointwise(const char* name, Descriptor& mode, const Descriptor& from,
                     const Descriptor* second, const Descriptor& to) {
  mode.Set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT).Finalize();
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, name);
  operation.Set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, mode)
      .Set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, from);
  if (second != nullptr) operation.Set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *second);
  operation.Set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, to);
  return std::move(operation.Finalize());
}

Descriptor AddBias(const Descriptor& from, const Descriptor& bias, const Descriptor& to) {
  Descriptor mode(CUDNN_BACKEND_POINTWISE_DESCRIPTOR, "the bias' mode");
  mode.Set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_ADD);
  return Pointwise("the bias", mode, from, &bias, to);
}

Descriptor Relu(float slope, const Descriptor& from, const Descriptor& to) {
  Descriptor mode(CUDNN_BACKEND_POINTWISE_DESCRIPTOR, "the activation's mode");
  mode.Set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_RELU_FWD);
  // Left out where it is zero: plain ReLUs have engines that leaky ones have not.
  if (slope != 0) mode.Set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, slope);
  return Pointwise("the activation", mode, from, nullptr, to);
}

}  // namespace

Descriptor MakeOperationGraph(const ConvGraph& graph, cudnnHandle_t handle) {
  const ConvShape& s = graph.shape;
  if (s.groups < 1) throw Error(std::to_string(s.groups) + " groups, expected at least 1");
  const auto type = graph.precision == Precision::kBf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  const Sizes outputs = {s.batch, s.out_c, s.out_h, s.out_w};
  const Descriptor x = Tensor(kTensorX, "x", {s.batch, s.in_c, s.in_h, s.in_w}, type);
  const Descriptor w =
      Tensor(kTensorW, "w", {s.out_c, s.in_c / s.groups, s.kernel_h, s.kernel_w}, type);
  // The operations in order, each but the last with an output that goes on to the next.
  const int last = (graph.bias ? 1 : 0) + (graph.relu ? 1 : 0);
  std::vector<Descriptor> results, operations;
  for (int i = 0; i < last; ++i) {
    results.push_back(
        Tensor(kTensorInside + i, "what is fused", outputs, CUDNN_DATA_FLOAT, Lies::kInside));
  }
  results.push_back(Tensor(kTensorY, "y", outputs, type));
  operations.push_back(Convolution(graph, x, w, results[0]));
  if (graph.bias) {
    const Descriptor bias = Tensor(kTensorBias, "the bias", {1, s.out_c, 1, 1}, CUDNN_DATA_FLOAT);
    operations.push_back(AddBias(results[0], bias, results[1]));
  }
  if (graph.relu) operations.push_back(Relu(graph.slope, results[last - 1], results[last]));
  Descriptor whole(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, "the operation graph");
  whole.Set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations);
  if (handle != nullptr) whole.Set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle);
  return std::move(whole.Finalize());
}

}  // namespace trainyard::kernels::cuda
