// Engines keep to the precision and to the bits, and cuDNN's order of them counts.
#include "kernels/cuda/cudnn/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/cuda/cudnn/operation_graph.h"
#include "tests/kernels/cuda/cudnn/layers.h"
#include "tests/kernels/cuda/cudnn/planner.h"
#include "tests/kernels/cuda/support/refusal.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr Precision kPrecisions[] = {Precision::kFp32, Precision::kTf32, Precision::kBf16};
constexpr int64_t kLimit = int64_t{512} << 20;

ConvGraph SomeGraph(Precision precision) {
  ConvGraph graph;
  graph.shape = {32, 14, 14, 64, 14, 14, 128, 3, 3, 1, 1, 1, 1, 1};
  graph.precision = precision;
  return graph;
}

bool Has(const NumericalNotes& notes, cudnnBackendNumericalNote_t note) {
  return std::find(notes.begin(), notes.end(), note) != notes.end();
}

TEST(EngineAdmission, TensorCoresAreForTheReducedPrecisionsAlone) {
  const NumericalNotes none, tensor_cores = {CUDNN_NUMERICAL_NOTE_TENSOR_CORE};
  const ConvGraph fp32 = SomeGraph(Precision::kFp32);
  EXPECT_TRUE(Admitted(none, {}, fp32));
  EXPECT_TRUE(Admitted({CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP}, {}, fp32));
  EXPECT_FALSE(Admitted(tensor_cores, {}, fp32)) << "they would round to tf32";
  for (const Precision precision : {Precision::kTf32, Precision::kBf16}) {
    const ConvGraph graph = SomeGraph(precision);
    EXPECT_FALSE(Admitted(none, {}, graph)) << PrecisionName(precision);
    EXPECT_TRUE(Admitted(tensor_cores, {CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION}, graph));
  }
}

TEST(EngineAdmission, OtherBitsEachTimeAndRoundingOnTheWayAreForNone) {
  for (const Precision precision : kPrecisions) {
    const ConvGraph graph = SomeGraph(precision);
    NumericalNotes notes;
    if (precision != Precision::kFp32) notes.push_back(CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
    ASSERT_TRUE(Admitted(notes, {}, graph));
    for (const auto note :
         {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS,
          CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION, CUDNN_NUMERICAL_NOTE_FFT,
          CUDNN_NUMERICAL_NOTE_WINOGRAD}) {
      NumericalNotes with = notes;
      with.push_back(note);
      EXPECT_FALSE(Admitted(with, {}, graph)) << note << " " << PrecisionName(precision);
    }
    for (const auto note : {CUDNN_BEHAVIOR_NOTE_REQUIRES_FILTER_INT8x32_REORDER,
                            CUDNN_BEHAVIOR_NOTE_REQUIRES_BIAS_INT8x32_REORDER}) {
      EXPECT_FALSE(Admitted(notes, {note}, graph)) << note;
    }
  }
}

TEST(EngineAdmission, ReLUsAreForCompiledKernelsOnTensorCoresAlone) {
  const NumericalNotes tensor_cores = {CUDNN_NUMERICAL_NOTE_TENSOR_CORE};
  const BehaviorNotes compiled = {CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION};
  ConvGraph bf16 = SomeGraph(Precision::kBf16), fp32 = SomeGraph(Precision::kFp32);
  bf16.bias = fp32.bias = true;
  EXPECT_TRUE(Admitted(tensor_cores, {}, bf16));
  EXPECT_TRUE(Admitted({}, compiled, fp32));
  bf16.relu = fp32.relu = true;
  EXPECT_FALSE(Admitted(tensor_cores, {}, bf16));
  EXPECT_TRUE(Admitted(tensor_cores, compiled, bf16));
  EXPECT_FALSE(Admitted({}, compiled, fp32));
}

// The filter has work to do: cuDNN itself would take tf32 for floats.
TEST(Engines, OfFloatsAreProposedWithTensorCoresFirst) {
  const Descriptor device = DescribedDevice(DeviceJson("h100"));
  const ConvGraph fp32 = SomeGraph(Precision::kFp32), tf32 = SomeGraph(Precision::kTf32);
  const Descriptor graph = MakeOperationGraph(fp32, nullptr);
  const std::vector<Candidate> candidates = Candidates(graph, &device, CUDNN_HEUR_MODE_A);
  ASSERT_FALSE(candidates.empty());
  EXPECT_TRUE(Has(candidates[0].numerical, CUDNN_NUMERICAL_NOTE_TENSOR_CORE));
  EXPECT_NE(ChooseEngine(graph, nullptr, &device, fp32, kLimit).engine, candidates[0].name);
  EXPECT_EQ(ChooseEngine(graph, nullptr, &device, tf32, kLimit).engine, candidates[0].name);
}

TEST(Engines, AreAdmittedOnesAndTheSameEachTime) {
  for (const char* name : kDevices) {
    const Descriptor device = DescribedDevice(DeviceJson(name));
    for (const Layer& layer : LayersOf(ResNet9(512))) {
      for (const Precision precision : kPrecisions) {
        for (const ConvGraph& graph : {Forward(layer, precision), BackwardFilter(layer, precision),
                                       BackwardData(layer, precision, true)}) {
          const Descriptor operations = MakeOperationGraph(graph, nullptr);
          auto choose = [&] {
            return ChooseEngine(operations, nullptr, &device, graph, int64_t{1} << 40).engine;
          };
          const std::string chosen = choose();
          bool found = false;
          for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
            for (const Candidate& candidate : Candidates(operations, &device, mode)) {
              if (found || candidate.name != chosen) continue;
              found = true;
              EXPECT_TRUE(Admitted(candidate.numerical, candidate.behavior, graph));
              EXPECT_FALSE(Has(candidate.numerical, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC));
            }
          }
          EXPECT_TRUE(found) << chosen << " of " << graph.Key();
          EXPECT_EQ(choose(), chosen);
        }
      }
    }
  }
}

TEST(Engines, WithTooLargeAWorkspaceAreLeftOutAndSaidSo) {
  const Descriptor device = DescribedDevice(DeviceJson("a100"));
  ConvGraph graph = SomeGraph(Precision::kTf32);
  graph.pass = ConvPass::kBackwardFilter;
  const Descriptor operations = MakeOperationGraph(graph, nullptr);
  const ExecutionPlan free = ChooseEngine(operations, nullptr, &device, graph, kLimit);
  ASSERT_GT(free.workspace_bytes, 0);
  const std::string refusal =
      Refusal([&] { ChooseEngine(operations, nullptr, &device, graph, -1); });
  EXPECT_THAT(refusal, StartsWith("no engine; "));
  EXPECT_THAT(refusal, HasSubstr("; " + free.engine + " needs " +
                                 std::to_string(free.workspace_bytes) + " bytes of workspace"));
  EXPECT_THAT(refusal, HasSubstr(" is not for tf32"));
}

TEST(Engines, ComeBackFromTheirTextForTheDeviceAlone) {
  const Descriptor a100 = DescribedDevice(DeviceJson("a100"));
  const Descriptor h100 = DescribedDevice(DeviceJson("h100"));
  const ConvGraph asked = SomeGraph(Precision::kBf16);
  const Descriptor graph = MakeOperationGraph(asked, nullptr);
  const ExecutionPlan chosen = ChooseEngine(graph, nullptr, &h100, asked, kLimit);
  const std::string text = PlanText(chosen.plan);
  const Descriptor loaded = LoadPlan(text, nullptr, &h100);
  EXPECT_EQ(WorkspaceBytes(loaded), chosen.workspace_bytes);
  EXPECT_EQ(PlanText(loaded), text);
  EXPECT_NE(Refusal([&] { LoadPlan(text, nullptr, &a100); }), "");
  EXPECT_NE(Refusal([&] { LoadPlan("{}", nullptr, &h100); }), "");
  EXPECT_NE(Refusal([&] { LoadPlan(text.substr(0, text.size() / 2), nullptr, &h100); }), "");
}

TEST(OperationGraphs, OfShapesThatDoNotFitAreRefusedWithCudnnsReason) {
  struct Wrong {
    ConvShape shape;
    const char* named;
  };
  const Wrong wrongs[] = {
      {{32, 14, 14, 64, 11, 14, 128, 3, 3, 1, 1, 1, 1, 1}, "the convolution: "},  // y too small
      {{32, 14, 14, 64, 14, -1, 128, 3, 3, 1, 1, 1, 1, 1}, "y: "},
      {{32, 14, 14, 64, 14, 14, 128, 3, 3, 0, 1, 1, 1, 1}, "the convolution's windows: "},
      {{32, 14, 14, 64, 14, 14, 128, 3, 3, 1, 1, 1, -1, 1}, "the convolution's windows: "},
      {{32, 14, 14, 64, 14, 14, 128, 3, 3, 1, 1, 1, 1, 7}, "the convolution: "},  // 7 groups of 64
  };
  for (const Wrong& wrong : wrongs) {
    for (const auto pass :
         {ConvPass::kForward, ConvPass::kBackwardFilter, ConvPass::kBackwardData}) {
      ConvGraph graph = SomeGraph(Precision::kBf16);
      graph.pass = pass;
      graph.shape = wrong.shape;
      const std::string refusal = Refusal([&] { MakeOperationGraph(graph, nullptr); });
      EXPECT_THAT(refusal, StartsWith(wrong.named + std::string("CUDNN_STATUS_BAD_PARAM: ")));
      EXPECT_GT(refusal.size(), std::string(wrong.named).size() + 26) << "a reason: " << refusal;
    }
  }
  ConvGraph graph = SomeGraph(Precision::kBf16);
  graph.shape.groups = 0;
  EXPECT_EQ(Refusal([&] { MakeOperationGraph(graph, nullptr); }), "0 groups, expected at least 1");
}

TEST(DescribedDevices, ThatAreNoneAreRefused) {
  EXPECT_THAT(Refusal([] { DescribedDevice("{\"deviceVer\":"); }),
              StartsWith("the device's description: CUDNN_STATUS_"));
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
