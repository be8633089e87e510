// Which members cuDNN's descriptors have, of which type and how many.
#include "kernels/cuda/emulation/nvidia/cudnn_descriptor.h"

namespace trainyard::kernels::cuda::emulation::nvidia {
namespace {

constexpr int64_t kMany = 1 << 20;
constexpr int64_t kSpatialMax = CUDNN_DIM_MAX - 2;
constexpr auto kTensor = CUDNN_BACKEND_TENSOR_DESCRIPTOR;
constexpr auto kConvolution = CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR;
constexpr auto kForward = CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
constexpr auto kBackwardData = CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR;
constexpr auto kBackwardFilter = CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR;
constexpr auto kPointwise = CUDNN_BACKEND_POINTWISE_DESCRIPTOR;
constexpr auto kPointwiseOf = CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR;
constexpr auto kGenStats = CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR;
constexpr auto kReduction = CUDNN_BACKEND_REDUCTION_DESCRIPTOR;
constexpr auto kReductionOf = CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR;
constexpr auto kGraph = CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR;
constexpr auto kHeuristic = CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR;
constexpr auto kEngine = CUDNN_BACKEND_ENGINE_DESCRIPTOR;
constexpr auto kConfig = CUDNN_BACKEND_ENGINECFG_DESCRIPTOR;
constexpr auto kPlan = CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR;
constexpr auto kPack = CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR;

constexpr auto kInt64 = CUDNN_TYPE_INT64;
constexpr auto kFloat = CUDNN_TYPE_FLOAT;
constexpr auto kDataType = CUDNN_TYPE_DATA_TYPE;
constexpr auto kDescriptor = CUDNN_TYPE_BACKEND_DESCRIPTOR;

Rule Child(cudnnBackendDescriptorType_t of, int name, int child, Rule::Use use = Rule::kRequired) {
  return {of, name, kDescriptor, 1, 1, use, child};
}

const Rule kPlain[] = {
    {kTensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, kInt64, 1, 1, Rule::kRequired},
    {kTensor, CUDNN_ATTR_TENSOR_DATA_TYPE, kDataType, 1, 1, Rule::kRequired},
    {kTensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, kInt64, 1, 1, Rule::kRequired},
    {kTensor, CUDNN_ATTR_TENSOR_DIMENSIONS, kInt64, 1, CUDNN_DIM_MAX, Rule::kRequired},
    {kTensor, CUDNN_ATTR_TENSOR_STRIDES, kInt64, 1, CUDNN_DIM_MAX, Rule::kRequired},
    {kTensor, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, 1, Rule::kOptional},

    {kConvolution, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, kDataType, 1, 1, Rule::kRequired},
    {kConvolution, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, 1,
     Rule::kRequired},
    {kConvolution, CUDNN_ATTR_CONVOLUTION_DILATIONS, kInt64, 1, kSpatialMax, Rule::kRequired},
    {kConvolution, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, kInt64, 1, kSpatialMax, Rule::kRequired},
    {kConvolution, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, kInt64, 1, kSpatialMax, Rule::kRequired},
    {kConvolution, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, kInt64, 1, kSpatialMax, Rule::kRequired},
    {kConvolution, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, kInt64, 1, 1, Rule::kRequired},

    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, kFloat, 1, 1, Rule::kOptional},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, kFloat, 1, 1, Rule::kOptional},
    Child(kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, kConvolution),
    Child(kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, kTensor),
    Child(kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, kTensor),
    Child(kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, kTensor),

    {kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, kFloat, 1, 1, Rule::kOptional},
    {kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, kFloat, 1, 1, Rule::kOptional},
    Child(kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, kConvolution),
    Child(kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, kTensor),
    Child(kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, kTensor),
    Child(kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, kTensor),

    {kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, kFloat, 1, 1,
     Rule::kOptional},
    {kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, kFloat, 1, 1,
     Rule::kOptional},
    Child(kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, kConvolution),
    Child(kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, kTensor),
    Child(kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, kTensor),
    Child(kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, kTensor),

    {kPointwise, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, 1, Rule::kRequired},
    {kPointwise, CUDNN_ATTR_POINTWISE_MATH_PREC, kDataType, 1, 1, Rule::kRequired},
    {kPointwise, CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, kFloat, 1, 1, Rule::kOptional},
    {kPointwise, CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, kFloat, 1, 1, Rule::kOptional},
    {kPointwise, CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, kFloat, 1, 1, Rule::kOptional},

    Child(kPointwiseOf, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, kPointwise),
    Child(kPointwiseOf, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, kTensor),
    Child(kPointwiseOf, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, kTensor, Rule::kOptional),
    Child(kPointwiseOf, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, kTensor, Rule::kOptional),
    Child(kPointwiseOf, CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, kTensor, Rule::kOptional),
    Child(kPointwiseOf, CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, kTensor, Rule::kOptional),
    {kPointwiseOf, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, kFloat, 1, 1, Rule::kOptional},
    {kPointwiseOf, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, kFloat, 1, 1, Rule::kOptional},

    {kGenStats, CUDNN_ATTR_OPERATION_GENSTATS_MODE, CUDNN_TYPE_GENSTATS_MODE, 1, 1,
     Rule::kRequired},
    {kGenStats, CUDNN_ATTR_OPERATION_GENSTATS_MATH_PREC, kDataType, 1, 1, Rule::kRequired},
    Child(kGenStats, CUDNN_ATTR_OPERATION_GENSTATS_XDESC, kTensor),
    Child(kGenStats, CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, kTensor),
    Child(kGenStats, CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC, kTensor),

    {kReduction, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, 1,
     Rule::kRequired},
    {kReduction, CUDNN_ATTR_REDUCTION_COMP_TYPE, kDataType, 1, 1, Rule::kRequired},
    {kReduction, CUDNN_ATTR_REDUCTION_IS_DETERMINISTIC, CUDNN_TYPE_BOOLEAN, 1, 1, Rule::kOptional},
    Child(kReductionOf, CUDNN_ATTR_OPERATION_REDUCTION_DESC, kReduction),
    Child(kReductionOf, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, kTensor),
    Child(kReductionOf, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, kTensor),

    {kGraph, CUDNN_ATTR_OPERATIONGRAPH_OPS, kDescriptor, 1, kMany, Rule::kRequired, -1},
    {kGraph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, Rule::kOptional},
    {kGraph, CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT, kInt64, 1, 1, Rule::kComputed},

    Child(kHeuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, kGraph),
    {kHeuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, 1, Rule::kRequired},
    {kHeuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, kDescriptor, 0, kMany, Rule::kComputed, kConfig},

    Child(kEngine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, kGraph),
    {kEngine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, kInt64, 1, 1, Rule::kRequired},
    {kEngine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, 0,
     CUDNN_NUMERICAL_NOTE_TYPE_COUNT, Rule::kComputed},
    {kEngine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, 0,
     CUDNN_BEHAVIOR_NOTE_TYPE_COUNT, Rule::kComputed},
    {kEngine, CUDNN_ATTR_ENGINE_KNOB_INFO, kDescriptor, 0, kMany, Rule::kComputed,
     CUDNN_BACKEND_KNOB_INFO_DESCRIPTOR},

    Child(kConfig, CUDNN_ATTR_ENGINECFG_ENGINE, kEngine),
    {kConfig, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, kDescriptor, 0, kMany, Rule::kComputed,
     CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR},

    Child(kPlan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, kConfig, Rule::kOptional),
    {kPlan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, Rule::kOptional},
    {kPlan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, kInt64, 1, 1, Rule::kComputed},
    {kPlan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, 1, int64_t{1} << 32,
     Rule::kStored},

    {kPack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, kInt64, 1, kMany, Rule::kRequired},
    {kPack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 1, kMany, Rule::kRequired},
    {kPack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, 1, Rule::kOptional},
};

}  // namespace

const std::vector<Rule>& Rules() {
  static const std::vector<Rule>& rules =
      *new std::vector<Rule>(std::begin(kPlain), std::end(kPlain));
  return rules;
}

int64_t BytesOf(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_CHAR:
      return 1;
    case CUDNN_TYPE_BOOLEAN:
      return sizeof(bool);
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
      return 8;
    default:  // enumerations, int32, float
      return 4;
  }
}

}  // namespace trainyard::kernels::cuda::emulation::nvidia
