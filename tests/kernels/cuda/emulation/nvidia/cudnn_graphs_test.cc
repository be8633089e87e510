// Which descriptors and graphs cuDNN takes and which it refuses: one list for the emulated
// machine's cuDNN and, where it is and as another program, for NVIDIA's.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/kernels/cuda/emulation/nvidia/cudnn_calls.h"

namespace trainyard::kernels::cuda::testing {
namespace {

#if defined(TRAINYARD_NVIDIA_CUDNN)
constexpr bool kEmulated = false;
#else
constexpr bool kEmulated = true;
#endif

enum Verdict {
  kTaken,
  kRefused,
  kRefusedHere,  // by the emulated machine alone: it means nothing, or nothing that was meant
};

struct Case {
  std::string name;
  Verdict verdict;
  std::function<void()> make;
};
std::ostream& operator<<(std::ostream& out, const Case& of) { return out << of.name; }

const Dims kX{2, 8, 5, 5}, kW{16, 8, 3, 3}, kY{2, 16, 5, 5}, kBias{1, 16, 1, 1};

void MakeForward(const Dims& x, const Dims& w, const Dims& y, const WindowSpec& window = {}) {
  Forward(MakeConvolution(window), MakeTensor(1, x), MakeTensor(2, w), MakeTensor(3, y));
}
void MakeBackwardData(const Dims& dx, const Dims& w, const Dims& dy) {
  BackwardData(MakeConvolution(), MakeTensor(1, dx), MakeTensor(2, w), MakeTensor(3, dy));
}
void MakeBackwardFilter(const Dims& x, const Dims& dw, const Dims& dy) {
  BackwardFilter(MakeConvolution(), MakeTensor(1, x), MakeTensor(2, dw), MakeTensor(3, dy));
}
void MakeAdd(const Dims& x, const Dims& b, const Dims& y) {
  const Made to = MakeTensor(3, y), bias = MakeTensor(2, b);
  Pointwise(Mode(CUDNN_POINTWISE_ADD), MakeTensor(1, x), &bias, &to);
}
void MakeStatistics(const Dims& sum, const Dims& squares, cudnnDataType_t type = kFloat) {
  Statistics(MakeTensor(1, kY), MakeTensor(2, sum, type), MakeTensor(3, squares, type));
}

// y = relu(conv(x, w) + bias); `between`: how the addition names the convolution's output.
Made BiasGraph(const Made& between, bool backwards = false) {
  const Made x = MakeTensor(1, kX), w = MakeTensor(2, kW), bias = MakeTensor(3, kBias);
  const Made sum = MakeTensor(4, kY, kFloat, kVirtual), added = MakeTensor(5, kY, kFloat, kVirtual);
  const Made y = MakeTensor(6, kY);
  const Made convolution = Forward(MakeConvolution(), x, w, sum);
  const Made add = Pointwise(Mode(CUDNN_POINTWISE_ADD), between, &bias, &added);
  const Made relu = Pointwise(Mode(CUDNN_POINTWISE_RELU_FWD), added, nullptr, &y);
  if (backwards) return Graph({&relu, &add, &convolution});
  return Graph({&convolution, &add, &relu});
}

void MakeTwice() {
  const Made forward =
      Forward(MakeConvolution(), MakeTensor(1, kX), MakeTensor(2, kW), MakeTensor(3, kY));
  Graph({&forward, &forward});
}
void MakeFromNothing() {
  const Made from = MakeTensor(1, kY, kFloat, kVirtual), to = MakeTensor(2, kY);
  const Made relu = Pointwise(Mode(CUDNN_POINTWISE_RELU_FWD), from, nullptr, &to);
  Graph({&relu});
}
void MakeForNobody() {
  const Made forward = Forward(MakeConvolution(), MakeTensor(1, kX), MakeTensor(2, kW),
                               MakeTensor(3, kY, kFloat, kVirtual));
  Graph({&forward});
}
void MakeUnfinalized() {
  Made tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.Set(CUDNN_ATTR_TENSOR_UNIQUE_ID, int64_t{1});
  Forward(MakeConvolution(), tensor, MakeTensor(2, kW), MakeTensor(3, kY));
}
void MakePack(const Dims& ids, int pointers) {
  static char memory[256];
  Made pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.Set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids);
  pack.Set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
           std::vector<void*>(pointers, memory));
  pack.Finalize();
}

std::vector<Case> Tensors() {
  const Dims dims{1, 2, 3, 4}, strides{24, 1, 8, 2};
  const auto make = [=](Dims of, Dims with, int64_t alignment = 16) {
    return [=] { MakeTensor(1, of, kFloat, false, with, alignment); };
  };
  return {
      {"Tensor", kTaken, make(dims, strides)},
      {"TensorOfPlanes", kTaken, make(dims, {24, 12, 4, 1})},
      {"TensorWithGaps", kTaken, make(dims, {100, 1, 20, 5})},
      {"TensorWithFewerStrides", kRefused, make(dims, {24, 1, 8})},
      {"TensorWithANegativeStride", kRefused, make(dims, {-24, 1, 8, 2})},
      {"TensorAlignedToPartOfAnElement", kRefused, make(dims, strides, 2)},
      {"TensorAlignedToNothing", kRefused, make(dims, strides, 0)},
      {"TensorOfNineDimensions", kRefused, make(Dims(9, 1), Dims(9, 1))},
      {"TensorWithoutElements", kRefusedHere, make({0, 2, 3, 4}, strides)},
      {"TensorWhoseElementsOverlap", kRefusedHere, make(dims, {24, 1, 8, 1})},
      {"TensorTypeAsInteger", kRefused,
       [] { Made(CUDNN_BACKEND_TENSOR_DESCRIPTOR).Set(CUDNN_ATTR_TENSOR_DATA_TYPE, int64_t{0}); }},
      {"TensorWithTwoIds", kRefused,
       [] {
         Made(CUDNN_BACKEND_TENSOR_DESCRIPTOR).Set(CUDNN_ATTR_TENSOR_UNIQUE_ID, Dims{1, 2});
       }},
      {"TensorWithAPadding", kRefused,
       [] {
         Made(CUDNN_BACKEND_TENSOR_DESCRIPTOR).Set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2});
       }},
      {"TensorChangedAfterFinalize", kRefused,
       [] { MakeTensor(1, kX).Set(CUDNN_ATTR_TENSOR_UNIQUE_ID, int64_t{2}); }},
      {"TensorFinalizedTwice", kRefused, [] { MakeTensor(1, kX).Finalize(); }},
      {"TensorReadBeforeFinalize", kRefused,
       [] {
         Made made(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
         made.Set(CUDNN_ATTR_TENSOR_UNIQUE_ID, int64_t{1});
         made.Get<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64);
       }},
      {"TensorReadAsAnotherType", kRefused,
       [] { MakeTensor(1, kX).Get<float>(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_FLOAT); }},
      {"NoSuchDescriptor", kRefused,
       [] { Made made(static_cast<cudnnBackendDescriptorType_t>(60)); }},
      {"NullDescriptor", kRefused, [] { Expect(cudnnBackendFinalize(nullptr)); }},
  };
}

std::vector<Case> Convolutions() {
  const auto make = [](WindowSpec window) { return [=] { MakeConvolution(window); }; };
  return {
      {"Window", kTaken, make({})},
      {"WindowPaddedOnOneSide", kTaken, make({.pre = {0, 0}, .stride = {2, 2}})},
      {"WindowWithNegativePadding", kRefused, make({.pre = {-1, 1}})},
      {"WindowWithStrideZero", kRefused, make({.stride = {0, 1}})},
      {"WindowWithDilationZero", kRefused, make({.dilation = {0, 1}})},
      {"WindowWithOnePaddingAfter", kRefused, make({.post = {1}})},
      {"WindowWithOneStride", kRefused, make({.stride = {1}})},
      {"WindowWithoutStrides", kRefused,
       [] {
         Made made(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
         made.Set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2}).Finalize();
       }},
      {"Forward", kTaken, [] { MakeForward(kX, kW, kY); }},
      {"ForwardStrided", kTaken,
       [] {
         MakeForward({2, 8, 6, 6}, kW, {2, 16, 3, 3}, {.pre = {0, 0}, .stride = {2, 2}});
       }},
      {"ForwardInGroups", kTaken,
       [] {
         MakeForward(kX, {16, 4, 3, 3}, kY);
       }},
      {"ForwardToFewerRows", kRefused,
       [] {
         MakeForward(kX, kW, {2, 16, 4, 5});
       }},
      {"ForwardToMoreColumns", kRefused,
       [] {
         MakeForward(kX, kW, {2, 16, 5, 6});
       }},
      {"ForwardToOtherChannels", kRefused,
       [] {
         MakeForward(kX, kW, {2, 15, 5, 5});
       }},
      {"ForwardToFewerImages", kRefused,
       [] {
         MakeForward(kX, kW, {1, 16, 5, 5});
       }},
      {"ForwardWithShallowFilters", kRefused,
       [] {
         MakeForward(kX, {16, 3, 3, 3}, kY);
       }},
      {"ForwardWithDeepFilters", kRefused,
       [] {
         MakeForward(kX, {16, 16, 3, 3}, kY);
       }},
      {"ForwardWithFiltersThatDoNotDivide", kRefused,
       [] {
         MakeForward(kX, {15, 4, 3, 3}, {2, 15, 5, 5});
       }},
      {"ForwardOfUnfinalized", kRefused, MakeUnfinalized},
      {"ForwardOfAWindow", kRefused,
       [] { Forward(MakeTensor(9, kX), MakeTensor(1, kX), MakeTensor(2, kW), MakeTensor(3, kY)); }},
      {"BackwardData", kTaken, [] { MakeBackwardData(kX, kW, kY); }},
      {"BackwardDataWithTheirRolesSwapped", kRefused, [] { MakeBackwardData(kY, kW, kX); }},
      {"BackwardDataToFewerRows", kRefused,
       [] {
         MakeBackwardData({2, 8, 4, 5}, kW, kY);
       }},
      {"BackwardFilter", kTaken, [] { MakeBackwardFilter(kX, kW, kY); }},
      {"BackwardFilterWithTheirRolesSwapped", kRefused, [] { MakeBackwardFilter(kY, kW, kX); }},
      {"BackwardFilterOfAnotherSize", kRefused,
       [] {
         MakeBackwardFilter(kX, {16, 8, 3, 4}, kY);
       }},
  };
}

std::vector<Case> Others() {
  return {
      {"Bias", kTaken, [] { MakeAdd(kY, kBias, kY); }},
      {"BiasOfOtherChannels", kRefusedHere,
       [] {
         MakeAdd(kY, {1, 15, 1, 1}, kY);
       }},
      {"BiasToFewerImages", kRefusedHere,
       [] {
         MakeAdd(kY, kBias, {1, 16, 5, 5});
       }},
      {"AddOfOne", kRefused,
       [] {
         const Made y = MakeTensor(3, kY);
         Pointwise(Mode(CUDNN_POINTWISE_ADD), MakeTensor(1, kY), nullptr, &y);
       }},
      {"ReluToNothing", kRefused,
       [] { Pointwise(Mode(CUDNN_POINTWISE_RELU_FWD), MakeTensor(1, kY), nullptr, nullptr); }},
      {"LeakyRelu", kTaken, [] { Mode(CUDNN_POINTWISE_RELU_FWD, 0.25f); }},
      {"ReluBackward", kTaken,
       [] {
         PointwiseBackward(Mode(CUDNN_POINTWISE_RELU_BWD), MakeTensor(1, kY), MakeTensor(2, kY),
                           MakeTensor(3, kY));
       }},
      {"Statistics", kTaken, [] { MakeStatistics(kBias, kBias); }},
      {"StatisticsOfOtherChannels", kRefusedHere,
       [] {
         MakeStatistics({1, 15, 1, 1}, kBias);
       }},
      {"StatisticsInBf16", kRefusedHere, [] { MakeStatistics(kBias, kBias, kBf16); }},
      {"Graph", kTaken, [] { BiasGraph(MakeTensor(4, kY, kFloat, kVirtual)); }},
      {"GraphInAnyOrder", kTaken, [] { BiasGraph(MakeTensor(4, kY, kFloat, kVirtual), true); }},
      {"GraphWithAnIdOfTwoTypes", kRefused, [] { BiasGraph(MakeTensor(4, kY, kBf16, kVirtual)); }},
      {"GraphWithAnIdTwice", kRefusedHere, [] { BiasGraph(MakeTensor(1, kY)); }},
      {"GraphOfNothing", kRefused, [] { Graph({}); }},
      {"GraphThatMakesATensorTwice", kRefused, MakeTwice},
      {"GraphFromAVirtualTensor", kRefusedHere, MakeFromNothing},
      {"GraphToAVirtualTensor", kRefusedHere, MakeForNobody},
      {"Pack", kTaken,
       [] {
         MakePack({1, 2}, 2);
       }},
      {"PackWithFewerPointers", kRefused,
       [] {
         MakePack({1, 2}, 1);
       }},
      {"PackWithAnIdTwice", kRefusedHere,
       [] {
         MakePack({1, 1}, 2);
       }},
      {"PlanOfNothing", kRefused, [] { Made(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR).Finalize(); }},
      {"HeuristicOfNothing", kRefused,
       [] { Made(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR).Finalize(); }},
      {"EngineOfNothing", kRefused, [] { Made(CUDNN_BACKEND_ENGINE_DESCRIPTOR).Finalize(); }},
  };
}

class CudnnGraph : public ::testing::TestWithParam<Case> {};

TEST_P(CudnnGraph, IsTakenOrRefusedWithAReason) {
  const bool refused =
      GetParam().verdict == kRefused || (kEmulated && GetParam().verdict == kRefusedHere);
  try {
    GetParam().make();
    EXPECT_FALSE(refused) << "taken";
  } catch (const Refused& refusal) {
    EXPECT_TRUE(refused) << refusal.status << ": " << refusal.what();
    EXPECT_STRNE(refusal.what(), "");
  }
}

const auto kName = [](const ::testing::TestParamInfo<Case>& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(Tensors, CudnnGraph, ::testing::ValuesIn(Tensors()), kName);
INSTANTIATE_TEST_SUITE_P(Convolutions, CudnnGraph, ::testing::ValuesIn(Convolutions()), kName);
INSTANTIATE_TEST_SUITE_P(Others, CudnnGraph, ::testing::ValuesIn(Others()), kName);

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
