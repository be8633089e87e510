// The step program's own promises: the same bytes every time, nothing read that was not written, a
// captured step that takes new scalars, the fusions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/program.h"
#include "kernels/cuda/resources.h"
#include "tests/kernels/agreement.h"
#include "tests/kernels/cuda/networks.h"
#include "tests/kernels/cuda/support/schedules.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

using cuda::CudaProgram;
using cuda::MakeCudaBackend;
using cuda::testing::kScheduleCount;
using cuda::testing::WithSchedule;

std::unique_ptr<Program> Lowered(const Graph& graph, Precision precision = Precision::kFp32) {
  return MakeCudaBackend({.precision = precision, .libraries = false})->Lower(graph);
}

TEST(ProgramSteps, TwoRunsAndEveryScheduleGiveTheSameBytes) {
  for (Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16}) {
    for (const Graph& graph : {EveryOpNet(3), SeparableNet(2, 8)}) {
      const std::vector<float> first = Trajectory(*Lowered(graph, precision), graph, 3);
      for (int number = 0; number < kScheduleCount; ++number) {
        const WithSchedule schedule(number);
        EXPECT_TRUE(SameBytes(first, Trajectory(*Lowered(graph, precision), graph, 3)));
      }
    }
  }
}

TEST(ProgramSteps, ReadNothingThatTheyHaveNotWritten) {
  std::vector<Graph> graphs = {EveryOpNet(4), ResidualNet(3, 8), SeparableNet(3, 8)};
  for (int seed = 3000; seed < 3010; ++seed) graphs.push_back(RandomGraph(seed));
  for (const Graph& graph : graphs) {
    for (Precision precision : {Precision::kFp32, Precision::kBf16}) {
      const std::unique_ptr<Program> program = Lowered(graph, precision);
      auto poison = [&](int) { static_cast<CudaProgram&>(*program).PoisonScratch(); };
      const std::vector<float> poisoned = Trajectory(*program, graph, 3, poison);
      EXPECT_TRUE(SameBytes(Trajectory(*Lowered(graph, precision), graph, 3), poisoned))
          << Describe(graph);
    }
  }
}

TEST(ProgramSteps, StayInsideTheirBuffers) {
  std::vector<Graph> graphs = {EveryOpNet(3), ResidualNet(2, 5), SeparableNet(3, 7)};
  for (int seed = 4000; seed < 4010; ++seed) graphs.push_back(RandomGraph(seed));
  for (const Graph& graph : graphs) {
    for (Precision precision : {Precision::kFp32, Precision::kBf16}) {
      CudaProgram program(graph,
                          {.backend = "guarded", .precision = precision, .guard_bytes = 512});
      const Images images(graph, graph.batch_size, 5);
      const std::vector<float> rates(graph.ops.size(), 0.25f);
      program.WriteState(RandomState(graph, 3));
      program.PoisonScratch();
      program.TrainStep(images.set, FirstIndices(graph.batch_size), LivelyScalars(rates, false));
      EXPECT_TRUE(program.GuardsAreWhole()) << Describe(graph);
    }
  }
}

struct Outcome {
  StepResult result;
  ProgramState state;
  bool operator==(const Outcome& other) const {
    return result.loss == other.result.loss && result.correct == other.result.correct &&
           result.gradient_norm == other.result.gradient_norm &&
           SameBytes(state.parameters, other.state.parameters) &&
           SameBytes(state.moment1, other.state.moment1) &&
           SameBytes(state.moment2, other.state.moment2) &&
           SameBytes(state.statistics, other.state.statistics);
  }
};

Outcome StepFrom(Program& program, const Graph& graph, const ProgramState& state,
                 const ImageSet& images, const StepScalars& scalars) {
  Outcome outcome;
  program.WriteState(state);
  outcome.result = program.TrainStep(images, FirstIndices(graph.batch_size), scalars);
  program.ReadState(outcome.state);
  return outcome;
}

TEST(ProgramSteps, AReplayedStepTakesNewScalars) {
  const Graph graph = EveryOpNet(4);
  const Images images(graph, 4, 5);
  const ProgramState state = RandomState(graph, 23);
  const std::vector<float> rates(graph.ops.size(), 0.25f), others(graph.ops.size(), 0.5f);
  const StepScalars first = LivelyScalars(rates, false);
  std::vector<StepScalars> changed(12, first);
  changed[0].learning_rate = 0.02f;
  changed[1].dropout_rates = others;
  changed[2].label_smoothing = 0.3f;
  changed[3].flip = false;
  changed[4].seed = 100;
  changed[5].step = 1;
  changed[6].shift = 2;
  changed[7].cutout = 4;
  changed[8].momentum = 0.5f;
  changed[8].nesterov = false;
  changed[9].weight_decay = 0.1f;
  changed[10].clip_norm = 0.01f;
  changed[11] = LivelyScalars(rates, true);
  const std::unique_ptr<Program> replays = Lowered(graph);
  const Outcome before = StepFrom(*replays, graph, state, images.set, first);
  for (size_t i = 0; i < changed.size(); ++i) {
    SCOPED_TRACE("change " + std::to_string(i));
    const Outcome replayed = StepFrom(*replays, graph, state, images.set, changed[i]);
    EXPECT_TRUE(replayed == StepFrom(*Lowered(graph), graph, state, images.set, changed[i]));
    EXPECT_FALSE(replayed == before);
  }
  EXPECT_TRUE(StepFrom(*replays, graph, state, images.set, first) == before);
}

TEST(ProgramSteps, GoOnFromASavedStateBitForBit) {
  for (Precision precision : {Precision::kFp32, Precision::kBf16}) {
    const Graph graph = EveryOpNet(4);
    const Images images(graph, 4, 5);
    const std::vector<float> rates(graph.ops.size(), 0.25f);
    StepScalars scalars = LivelyScalars(rates, true);
    const std::unique_ptr<Program> through = Lowered(graph, precision);
    const Outcome half = StepFrom(*through, graph, RandomState(graph, 1), images.set, scalars);
    scalars.step = 1;
    Outcome whole;
    whole.result = through->TrainStep(images.set, FirstIndices(4), scalars);
    through->ReadState(whole.state);
    const std::unique_ptr<Program> resumed = Lowered(graph, precision);
    EXPECT_TRUE(StepFrom(*resumed, graph, half.state, images.set, scalars) == whole);
  }
}

TEST(ProgramSteps, EveryDataSetIsReadFromItsOwnPixels) {
  const Graph graph = ResidualNet(2, 4);
  const Images one(graph, 4, 5), other(graph, 3, 6);
  const std::unique_ptr<Program> program = Lowered(graph);
  program->WriteState(RandomState(graph, 1));
  auto evaluate = [&](Program& on, const ImageSet& images) {
    std::vector<float> logits(2 * graph.classes);
    const std::vector<int32_t> indices = {2, 0};
    on.Evaluate(images, indices, logits);
    return logits;
  };
  const std::vector<float> first = evaluate(*program, one.set);
  const std::vector<float> second = evaluate(*program, other.set);
  EXPECT_FALSE(SameBytes(first, second));
  EXPECT_TRUE(SameBytes(first, evaluate(*program, one.set)));
  const std::unique_ptr<Program> fresh = Lowered(graph);
  fresh->WriteState(RandomState(graph, 1));
  EXPECT_TRUE(SameBytes(second, evaluate(*fresh, other.set)));
}

TEST(ProgramSteps, AreFusedWhereNothingElseReads) {
  GraphMaker maker({4, 8, 8}, 2, 3);
  int x = maker.Relu(maker.Conv(0, 8, 3, 3, 1, 1, {1, 1, 1, 1}, 1, true));           // layers 0, 1
  int body = maker.BatchNorm(maker.Conv(x, 8, 3, 3, 1, 1, {1, 1, 1, 1}, 8, false));  // 2, 3
  x = maker.Relu(maker.Add(x, body));                                                // 4, 5
  body = maker.Conv(x, 8, 1, 1, 1, 1, {}, 1, false);                                 // 6
  x = maker.Add(body, x);                                                            // 7
  maker.Linear(maker.Dropout(maker.GlobalAvgPool(x)), 3);                            // 8, 9, 10
  const std::unique_ptr<Program> program = Lowered(maker.graph());
  EXPECT_THAT(static_cast<CudaProgram&>(*program).StepNames(),
              ::testing::ElementsAre(
                  "load images", "layers.0 (conv) forward first",
                  "layers.2 (conv) forward depthwise", "layers.3 (batch_norm) statistics",
                  "layers.3 (batch_norm) apply and add", "layers.6 (conv) forward general",
                  "layers.7 (add) forward", "layers.8 (global_avg_pool) forward",
                  "layers.9 (dropout) forward", "layers.10 (linear) forward general", "loss",
                  "layers.10 (linear) bias gradient", "layers.10 (linear) weight gradient general",
                  "layers.10 (linear) data gradient general", "layers.9 (dropout) backward",
                  "layers.8 (global_avg_pool) backward", "layers.6 (conv) weight gradient general",
                  // The sum's gradient is also that of its other input, to which this adds.
                  "gradient of value 6 copy", "layers.6 (conv) data gradient general",
                  "layers.3 (batch_norm) backward", "layers.2 (conv) weight gradient depthwise",
                  "layers.2 (conv) data gradient depthwise", "layers.0 (conv) bias gradient",
                  "layers.0 (conv) weight gradient first", "gradient norm", "update"));
  const std::vector<std::string> told = program->Explain();
  ASSERT_EQ(told.size(), 8u);  // neither ReLU, nor the sum behind the batch norm
  EXPECT_EQ(told[0],
            "layers.0 (conv) 4x8x8 -> 8x8x8: forward first, bias gradient, weight gradient first");
  EXPECT_EQ(told[2], "layers.3 (batch_norm) 8x8x8 -> 8x8x8: statistics, apply and add, backward");
}

TEST(ProgramSteps, FingerprintsTellPrecisionAndPlan) {
  const Graph graph = ResidualNet(2, 4);
  const std::string fp32 = Lowered(graph)->Fingerprint();
  const std::string backend =
      MakeCudaBackend({.precision = Precision::kFp32, .libraries = false})->name();
  EXPECT_THAT(fp32, ::testing::MatchesRegex(backend + " fp32 .+ plan=[0-9a-f]{16}"));
  EXPECT_EQ(Lowered(graph)->Fingerprint(), fp32);
  EXPECT_NE(Lowered(ResidualNet(3, 4))->Fingerprint(), fp32);
  EXPECT_THAT(Lowered(graph, Precision::kTf32)->Fingerprint(),
              ::testing::HasSubstr(backend + " tf32 "));
}

TEST(ProgramSteps, RunAfterMemoryThatWasNotToBeHad) {
  const Graph graph = EveryOpNet(2);
  EXPECT_THROW(cuda::DeviceMemory("a test", int64_t{1} << 50), Error);
  EXPECT_EQ(Trajectory(*Lowered(graph), graph, 1), Trajectory(*Lowered(graph), graph, 1));
}

TEST(ProgramSteps, MemoryCountsStateActivationsAndDataSets) {
  const Graph graph = ResidualNet(2, 4);
  const std::unique_ptr<Program> program = Lowered(graph);
  const int64_t before = program->MemoryBytes();
  EXPECT_GT(before, 4 * 4 * graph.parameter_count + 2 * 4 * graph.values[1].size());
  const Images images(graph, 10, 5);
  program->Evaluate(images.set, FirstIndices(2), {});
  program->Evaluate(images.set, FirstIndices(2), {});
  EXPECT_EQ(program->MemoryBytes(), before + 10 * graph.values[0].size() + 10 * 4);
}

std::string WhyNot(const Graph& graph) {
  try {
    Lowered(graph);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ProgramSteps, WhatKernelsRefuseIsSaidWhenLoweringAndNamesTheOp) {
  GraphMaker padded({3, 8, 8}, 2, 4);
  padded.Linear(padded.Conv(0, 4, 3, 3, 1, 1, {3, 3, 1, 1}, 1, true), 4);
  EXPECT_THAT(WhyNot(padded.graph()),
              ::testing::HasSubstr("layers.0 (conv): forward: padding along height is 3"));
  // Only the kernel's launcher knows this one.
  GraphMaker normed({3, 8, 8}, 2, 4);
  normed.Linear(normed.BatchNorm(0), 4);
  Graph unstable = normed.graph();
  unstable.ops[0].momentum = 1.5f;
  EXPECT_THAT(WhyNot(unstable), ::testing::HasSubstr("layers.0 (batch_norm) statistics: "));
  GraphMaker sloped({3, 8, 8}, 2, 4);
  sloped.Linear(sloped.Relu(0, -0.5f), 4);
  EXPECT_THAT(WhyNot(sloped.graph()), ::testing::HasSubstr("layers.0 (relu): has slope -0.5"));
  GraphMaker planes({3, 2, 1}, 2, 6);
  planes.Conv3x3(0, 3);
  EXPECT_THAT(WhyNot(planes.graph()),
              ::testing::HasSubstr("layers.0 (conv): gives the logits and has 2x1 pixels"));
  GraphMaker shared({3, 4, 4}, 2, 3);
  shared.Linear(shared.Conv3x3(shared.Conv3x3(0, 3), 3), 3);
  Graph graph = shared.graph();
  graph.ops[1].offsets.weight = graph.ops[0].offsets.weight;
  EXPECT_THAT(WhyNot(graph), ::testing::HasSubstr("layers.1 (conv): its weight at 0 is not"));
}

}  // namespace
}  // namespace trainyard::kernels::testing
