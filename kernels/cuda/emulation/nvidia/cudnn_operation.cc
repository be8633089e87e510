#include "kernels/cuda/emulation/nvidia/cudnn_operation.h"

#include <algorithm>

namespace trainyard::kernels::cuda::emulation::nvidia {
namespace {

using Dims = std::vector<int64_t>;

[[noreturn]] void Bad(const std::string& reason) { throw Refusal(CUDNN_STATUS_BAD_PARAM, reason); }
[[noreturn]] void Unsupported(const std::string& reason) {
  throw Refusal(CUDNN_STATUS_NOT_SUPPORTED, reason);
}

template <typename Numbers>
std::string Text(const Numbers& numbers) {
  std::string text = "(";
  for (const int64_t number : numbers) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(number);
  }
  return text + ")";
}

void ExpectDims(const char* what, const Tensor& tensor, const std::array<int64_t, 4>& expected) {
  if (tensor.dims == expected) return;
  throw Refusal(
      CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
      std::string(what) + ": found " + Text(tensor.dims) + ", expected " + Text(expected));
}

void ExpectFloat(cudnnDataType_t type, const char* what) {
  if (type != CUDNN_DATA_FLOAT) {
    Unsupported(std::string(what) + " in data type " + std::to_string(type) + ", not float");
  }
}

std::array<int64_t, 2> Pair(const Descriptor& convolution, int name) {
  const Dims values = convolution.All<int64_t>(name);
  return {values[0], values[1]};
}

Window ReadWindow(const Descriptor& convolution) {
  const int64_t dims = convolution.One<int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 0);
  if (dims != 2) Unsupported("a convolution over " + std::to_string(dims) + " dimensions, not 2");
  ExpectFloat(convolution.One(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT), "convolution");
  if (convolution.One(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION) !=
      CUDNN_CROSS_CORRELATION) {
    Unsupported("CUDNN_CONVOLUTION: only CUDNN_CROSS_CORRELATION");
  }
  return {.pre = Pair(convolution, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS),
          .post = Pair(convolution, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS),
          .stride = Pair(convolution, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES),
          .dilation = Pair(convolution, CUDNN_ATTR_CONVOLUTION_DILATIONS)};
}

// `x` by `w` gives `y`, whichever of them is computed.
void CheckShapes(const Window& window, const Tensor& x, const Tensor& w, const Tensor& y) {
  if (x.dims[1] % w.dims[1] != 0) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
                  "filters of depth " + std::to_string(w.dims[1]) + " for " +
                      std::to_string(x.dims[1]) + " channels");
  }
  const int64_t groups = x.dims[1] / w.dims[1];
  if (w.dims[0] % groups != 0) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
                  std::to_string(w.dims[0]) + " filters in " + std::to_string(groups) + " groups");
  }
  std::array<int64_t, 4> expected{x.dims[0], w.dims[0], 0, 0};
  for (int i = 0; i < 2; ++i) {
    const int64_t reach = (w.dims[i + 2] - 1) * window.dilation[i] + 1;
    const int64_t room = x.dims[i + 2] + window.pre[i] + window.post[i] - reach;
    if (room < 0) {
      throw Refusal(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "a window larger than the padded image");
    }
    expected[i + 2] = room / window.stride[i] + 1;
  }
  ExpectDims("output of the convolution", y, expected);
}

Operation ReadForward(const Descriptor& of) {
  Operation made{of.type};
  made.window = ReadWindow(of.At(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC));
  made.inputs = {ReadTensor(of.At(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X)),
                 ReadTensor(of.At(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W))};
  made.outputs = {ReadTensor(of.At(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y))};
  made.alpha = of.Scale(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1);
  made.beta = of.Scale(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0);
  CheckShapes(made.window, made.inputs[0], made.inputs[1], made.outputs[0]);
  return made;
}

Operation ReadBackwardData(const Descriptor& of) {
  Operation made{of.type};
  made.window = ReadWindow(of.At(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC));
  made.inputs = {ReadTensor(of.At(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W)),
                 ReadTensor(of.At(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY))};
  made.outputs = {ReadTensor(of.At(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX))};
  made.alpha = of.Scale(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 1);
  made.beta = of.Scale(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 0);
  CheckShapes(made.window, made.outputs[0], made.inputs[0], made.inputs[1]);
  return made;
}

Operation ReadBackwardFilter(const Descriptor& of) {
  Operation made{of.type};
  made.window = ReadWindow(of.At(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC));
  made.inputs = {ReadTensor(of.At(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X)),
                 ReadTensor(of.At(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY))};
  made.outputs = {ReadTensor(of.At(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW))};
  made.alpha = of.Scale(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, 1);
  made.beta = of.Scale(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 0);
  CheckShapes(made.window, made.inputs[0], made.outputs[0], made.inputs[1]);
  return made;
}

const Descriptor& Needed(const Descriptor& of, int name, const char* what) {
  if (!of.Has(name)) Bad(std::string("pointwise operation without ") + what);
  return of.At(name);
}

Operation ReadPointwise(const Descriptor& of) {
  const Descriptor& pointwise = of.At(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
  Operation made{of.type};
  made.mode = pointwise.One(CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_ADD);
  made.lower = pointwise.Scale(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, made.lower);
  made.upper = pointwise.Scale(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, made.upper);
  made.slope = pointwise.Scale(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, made.slope);
  made.alpha = of.Scale(CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, 1);
  made.beta = of.Scale(CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, 1);
  made.inputs = {ReadTensor(of.At(CUDNN_ATTR_OPERATION_POINTWISE_XDESC))};
  const bool binary = made.mode == CUDNN_POINTWISE_ADD || made.mode == CUDNN_POINTWISE_MUL;
  const bool backward = made.mode == CUDNN_POINTWISE_RELU_BWD;
  if (!binary && of.Has(CUDNN_ATTR_OPERATION_POINTWISE_BDESC)) {
    Bad("a second input for an operation that has one");
  }
  if (binary) {
    made.inputs.push_back(
        ReadTensor(Needed(of, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, "its second input")));
  }
  if (backward) {
    made.inputs.push_back(
        ReadTensor(Needed(of, CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, "its gradient dy")));
    made.outputs = {ReadTensor(Needed(of, CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, "its output dx"))};
  } else {
    made.outputs = {ReadTensor(Needed(of, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, "its output y"))};
  }
  for (int i = 0; i < 4; ++i) {
    int64_t widest = 1;
    for (const Tensor& input : made.inputs) widest = std::max(widest, input.dims[i]);
    const int64_t there = made.outputs[0].dims[i];
    for (const Tensor& input : made.inputs) {
      if (widest == there && (input.dims[i] == there || input.dims[i] == 1)) continue;
      throw Refusal(
          CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
          "pointwise operation from " + Text(input.dims) + " to " + Text(made.outputs[0].dims));
    }
  }
  return made;
}

Operation ReadGenStats(const Descriptor& of) {
  ExpectFloat(of.One(CUDNN_ATTR_OPERATION_GENSTATS_MATH_PREC, CUDNN_DATA_FLOAT), "statistics");
  Operation made{of.type};
  made.inputs = {ReadTensor(of.At(CUDNN_ATTR_OPERATION_GENSTATS_XDESC))};
  made.outputs = {ReadTensor(of.At(CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC)),
                  ReadTensor(of.At(CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC))};
  for (const Tensor& output : made.outputs) {
    ExpectDims("statistics of the channels", output, {1, made.inputs[0].dims[1], 1, 1});
    ExpectFloat(output.type, "statistics");
  }
  return made;
}

Operation ReadReduction(const Descriptor& of) {
  const Descriptor& reduction = of.At(CUDNN_ATTR_OPERATION_REDUCTION_DESC);
  ExpectFloat(reduction.One(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT), "reduction");
  if (reduction.One(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_REDUCE_TENSOR_ADD) !=
      CUDNN_REDUCE_TENSOR_ADD) {
    Unsupported("a reduction other than CUDNN_REDUCE_TENSOR_ADD");
  }
  Operation made{of.type};
  made.inputs = {ReadTensor(of.At(CUDNN_ATTR_OPERATION_REDUCTION_XDESC))};
  made.outputs = {ReadTensor(of.At(CUDNN_ATTR_OPERATION_REDUCTION_YDESC))};
  for (int i = 0; i < 4; ++i) {
    const int64_t to = made.outputs[0].dims[i];
    if (to == 1 || to == made.inputs[0].dims[i]) continue;
    throw Refusal(
        CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
        "reduction from " + Text(made.inputs[0].dims) + " to " + Text(made.outputs[0].dims));
  }
  return made;
}

}  // namespace

void CheckTensor(const Descriptor& tensor) {
  const Dims dims = tensor.All<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
  const Dims strides = tensor.All<int64_t>(CUDNN_ATTR_TENSOR_STRIDES);
  if (dims.size() != strides.size()) Bad("dimensions " + Text(dims) + ", strides " + Text(strides));
  const cudnnDataType_t type = tensor.One(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_FLOAT);
  if (type != CUDNN_DATA_FLOAT && type != CUDNN_DATA_BFLOAT16) {
    Unsupported("a tensor of data type " + std::to_string(type) + ", not float or bf16");
  }
  const int64_t size = type == CUDNN_DATA_FLOAT ? 4 : 2;
  const int64_t alignment = tensor.One<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 0);
  if (alignment <= 0 || alignment % size != 0) {
    Bad("alignment " + std::to_string(alignment) + ", expected a multiple of " +
        std::to_string(size));
  }
  // Elements lie apart: with dimensions by stride, each starts after the ones before have ended.
  std::vector<std::pair<int64_t, int64_t>> by_stride;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] <= 0 || strides[i] <= 0) {
      Bad("dimensions " + Text(dims) + ", strides " + Text(strides) + ", expected more than 0");
    }
    if (dims[i] > 1) by_stride.emplace_back(strides[i], dims[i]);
  }
  std::sort(by_stride.begin(), by_stride.end());
  int64_t end = 1;
  for (const auto& [stride, dim] : by_stride) {
    if (stride < end) Bad("elements overlap: " + Text(dims) + " with strides " + Text(strides));
    end += stride * (dim - 1);
  }
}

void CheckConvolution(const Descriptor& convolution) {
  const auto dims =
      static_cast<size_t>(convolution.One<int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 0));
  const struct {
    int name;
    int64_t least;
    const char* what;
  } lists[] = {{CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 0, "padding before"},
               {CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 0, "padding after"},
               {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 1, "strides"},
               {CUDNN_ATTR_CONVOLUTION_DILATIONS, 1, "dilations"}};
  for (const auto& list : lists) {
    const Dims values = convolution.All<int64_t>(list.name);
    const bool small = std::any_of(values.begin(), values.end(),
                                   [&](int64_t value) { return value < list.least; });
    if (values.size() == dims && !small) continue;
    Bad(std::string(list.what) + ": found " + Text(values) + ", expected " + std::to_string(dims) +
        " numbers from " + std::to_string(list.least));
  }
  ReadWindow(convolution);
}

void CheckPointwise(const Descriptor& pointwise) {
  ExpectFloat(pointwise.One(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT), "pointwise");
  const cudnnPointwiseMode_t mode = pointwise.One(CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_ADD);
  for (const cudnnPointwiseMode_t had :
       {CUDNN_POINTWISE_ADD, CUDNN_POINTWISE_MUL, CUDNN_POINTWISE_IDENTITY,
        CUDNN_POINTWISE_RELU_FWD, CUDNN_POINTWISE_RELU_BWD}) {
    if (mode == had) return;
  }
  Unsupported("pointwise mode " + std::to_string(mode));
}

Tensor ReadTensor(const Descriptor& tensor) {
  const Dims dims = tensor.All<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
  const Dims strides = tensor.All<int64_t>(CUDNN_ATTR_TENSOR_STRIDES);
  if (dims.size() != 4) Unsupported("a tensor " + Text(dims) + ", expected four dimensions");
  Tensor read{.id = tensor.One<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID, 0),
              .dims = {},
              .strides = {},
              .type = tensor.One(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_FLOAT),
              .alignment = tensor.One<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 0),
              .is_virtual = tensor.One(CUDNN_ATTR_TENSOR_IS_VIRTUAL, false)};
  std::copy(dims.begin(), dims.end(), read.dims.begin());
  std::copy(strides.begin(), strides.end(), read.strides.begin());
  return read;
}

Operation ReadOperation(const Descriptor& operation) {
  switch (operation.type) {
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
      return ReadForward(operation);
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
      return ReadBackwardData(operation);
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
      return ReadBackwardFilter(operation);
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
      return ReadPointwise(operation);
    case CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR:
      return ReadGenStats(operation);
    default:
      return ReadReduction(operation);
  }
}

}  // namespace trainyard::kernels::cuda::emulation::nvidia
