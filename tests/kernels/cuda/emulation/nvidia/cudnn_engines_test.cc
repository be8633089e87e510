// For which graphs cuDNN has engines, and with which notes: one list for the emulated machine's
// cuDNN and, where it is and as another program, for what NVIDIA's plans for an H200.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/kernels/cuda/emulation/nvidia/cudnn_calls.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using ::testing::UnorderedElementsAre;

const Dims kX{16, 32, 28, 28}, kW{64, 32, 3, 3}, kY{16, 64, 28, 28};

#if defined(TRAINYARD_NVIDIA_CUDNN)
// NVIDIA's compiles fused graphs as it plans them, which needs a driver, or what stands in for it.
#if defined(TRAINYARD_CUDNN_DRIVER)
constexpr bool kPlansFused = true;
#else
constexpr bool kPlansFused = false;
#endif
// NVIDIA's cuDNN plans for a GPU that is described and not there.
Made DescribeGpu(Made& heuristic) {
  static const std::string json =
      R"({"maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],)"
      R"("regsPerBlock":65536,"multiProcessorCount":132,"warpSize":32,)"
      R"("maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":232448,)"
      R"("reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"maxCtasPerSM":32,)"
      R"("maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,)"
      R"("supportCoopLaunch":1,"totalGlobalMem":150000000000,"smClockRateKHz":1980000,)"
      R"("memClockRateKHz":3201000,"l2CacheSize":62914560,"cudaDeviceId":0,"deviceVer":900,)"
      R"("driverVer":13000,"deviceName":"NVIDIA H200"})";
  Made device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device.Set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
             std::vector<char>(json.c_str(), json.c_str() + json.size() + 1));
  device.Finalize();
  heuristic.Set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device);
  return device;
}
#else
constexpr bool kPlansFused = true;
int DescribeGpu(Made&) { return 0; }
#endif

enum Kind { kTensorCores, kNoTensorCores };

// The kinds of the deterministic engines for a graph.
std::set<Kind> Kinds(const std::vector<const Made*>& operations, cudnnBackendHeurMode_t mode) {
  const Made graph = Graph(operations);
  Made heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.Set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristic.Set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE,
                std::vector<cudnnBackendHeurMode_t>{mode});
  [[maybe_unused]] const auto gpu = DescribeGpu(heuristic);
  std::set<Kind> kinds;
  for (const Made& config : Proposals(heuristic)) {
    const Made engine = EngineOf(config);
    const auto notes = engine.Get<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                                               CUDNN_TYPE_NUMERICAL_NOTE);
    const std::set<cudnnBackendNumericalNote_t> all(notes.begin(), notes.end());
    if (all.count(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) != 0) continue;
    kinds.insert(all.count(CUDNN_NUMERICAL_NOTE_TENSOR_CORE) != 0 ? kTensorCores : kNoTensorCores);
  }
  return kinds;
}

std::set<Kind> First(const std::vector<const Made*>& operations) {
  return Kinds(operations, CUDNN_HEUR_MODE_A);
}
std::set<Kind> Fallback(const std::vector<const Made*>& operations) {
  return Kinds(operations, CUDNN_HEUR_MODE_FALLBACK);
}

TEST(CudnnEngines, FloatConvolutionsHaveBothKindsAlone) {
  const Made window = MakeConvolution(), x = MakeTensor(1, kX), w = MakeTensor(2, kW);
  const Made y = MakeTensor(3, kY);
  const Made forward = Forward(window, x, w, y), data = BackwardData(window, x, w, y);
  const Made filter = BackwardFilter(window, x, w, y);
  for (const Made* operation : {&forward, &data, &filter}) {
    EXPECT_THAT(First({operation}), UnorderedElementsAre(kTensorCores, kNoTensorCores));
    EXPECT_EQ(Fallback({operation}).count(kNoTensorCores), 1);
  }
}

TEST(CudnnEngines, FusedFloatConvolutionsUseTensorCoresUnlessTheyFallBack) {
  if (!kPlansFused) GTEST_SKIP() << "needs a driver";
  const Made sum = MakeTensor(4, kY, kFloat, kVirtual), y = MakeTensor(3, kY);
  const Made forward = Forward(MakeConvolution(), MakeTensor(1, kX), MakeTensor(2, kW), sum);
  const Made relu = Pointwise(Mode(CUDNN_POINTWISE_RELU_FWD), sum, nullptr, &y);
  EXPECT_EQ(First({&forward, &relu}).count(kTensorCores), 1);
  EXPECT_EQ(Fallback({&forward, &relu}).count(kNoTensorCores), 1);
}

TEST(CudnnEngines, StatisticsNeedAConvolutionAndTensorCores) {
  const Dims channels{1, 64, 1, 1};
  const Made y = MakeTensor(3, kY), sum = MakeTensor(4, channels),
             squares = MakeTensor(5, channels);
  const Made forward = Forward(MakeConvolution(), MakeTensor(1, kX), MakeTensor(2, kW), y);
  const Made statistics = Statistics(y, sum, squares);
  if (kPlansFused) {
    EXPECT_THAT(First({&forward, &statistics}), UnorderedElementsAre(kTensorCores));
    EXPECT_THAT(Fallback({&forward, &statistics}), UnorderedElementsAre(kTensorCores));
  }
  EXPECT_THAT(First({&statistics}), UnorderedElementsAre());
  EXPECT_THAT(Fallback({&statistics}), UnorderedElementsAre());
}

TEST(CudnnEngines, Bf16FiltersHaveNoFloatGradientButThroughAVirtualOne) {
  const Made window = MakeConvolution(), x = MakeTensor(1, kX, kBf16), y = MakeTensor(3, kY, kBf16);
  const Made dw = MakeTensor(2, kW, kFloat), product = MakeTensor(4, kW, kFloat, kVirtual);
  const Made direct = BackwardFilter(window, x, dw, y);
  EXPECT_THAT(First({&direct}), UnorderedElementsAre());
  EXPECT_THAT(Fallback({&direct}), UnorderedElementsAre());
  const Made filter = BackwardFilter(window, x, product, y);
  const Made convert = Pointwise(Mode(CUDNN_POINTWISE_IDENTITY), product, nullptr, &dw);
  if (kPlansFused) {
    EXPECT_THAT(First({&filter, &convert}), UnorderedElementsAre(kTensorCores));
  }
}

TEST(CudnnEngines, NothingTakesMixedOperandsOrScalesBeforeAFusion) {
  const Made window = MakeConvolution(), x = MakeTensor(1, kX, kBf16), y = MakeTensor(3, kY, kBf16);
  const Made mixed = Forward(window, x, MakeTensor(2, kW), y);
  EXPECT_THAT(First({&mixed}), UnorderedElementsAre());
  EXPECT_THAT(Fallback({&mixed}), UnorderedElementsAre());
  const Made sum = MakeTensor(4, kY, kFloat, kVirtual);
  const Made scaled = Forward(window, x, MakeTensor(2, kW, kBf16), sum, {.alpha = 2});
  const Made relu = Pointwise(Mode(CUDNN_POINTWISE_RELU_FWD), sum, nullptr, &y);
  EXPECT_THAT(First({&scaled, &relu}), UnorderedElementsAre());
  EXPECT_THAT(Fallback({&scaled, &relu}), UnorderedElementsAre());
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
