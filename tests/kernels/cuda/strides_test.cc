// Steps in a row: one launch each, nothing of the host between two, and the bytes of single steps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/program.h"
#include "tests/kernels/agreement.h"
#include "tests/kernels/cuda/networks.h"
#include "tests/kernels/cuda/support/refusal.h"
#include "tests/kernels/cuda/support/schedules.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

using cuda::CudaProgram;
using cuda::MakeCudaBackend;
using cuda::testing::kScheduleCount;
using cuda::testing::Refusal;
using cuda::testing::WithLateStreams;
using cuda::testing::WithSchedule;

std::unique_ptr<Program> Lowered(const Graph& graph, Precision precision = Precision::kFp32) {
  return MakeCudaBackend({.precision = precision, .libraries = false})->Lower(graph);
}

// Steps of a trial that differ in everything that a step reads.
struct Trial {
  Trial(const Graph& of, int count) : graph(of), images(graph, 11, 5) {
    for (int i = 0; i < count; ++i) {
      rates.push_back(std::vector<float>(graph.ops.size(), 0.1f * static_cast<float>(i % 7)));
    }
    for (int i = 0; i < count; ++i) {
      StepScalars step = LivelyScalars(rates[i], i % 2 == 1);
      step.step = i;
      step.learning_rate = 0.01f / static_cast<float>(1 + i);
      step.shift = i % 3;
      scalars.push_back(step);
    }
  }
  std::vector<int32_t> Indices(int first, int steps, int batch) const {
    std::vector<int32_t> indices;
    for (int i = 0; i < steps * batch; ++i) {
      indices.push_back(static_cast<int32_t>((7 * (first * batch + i) + 3) % images.set.count()));
    }
    return indices;
  }

  const Graph graph;
  const Images images;
  std::vector<std::vector<float>> rates;
  std::vector<StepScalars> scalars;
};

// Runs the trial in strides of these lengths, each with batches of the size beside it, and returns
// all that it gives: results, then the state.
struct Part {
  int steps = 0, batch = 0;
};
std::vector<double> Give(Program& program, const Trial& trial, const std::vector<Part>& parts) {
  std::vector<double> given;
  int done = 0;
  for (const Part& part : parts) {
    std::vector<StepResult> results(part.steps);
    program.TrainSteps(trial.images.set, trial.Indices(done, part.steps, part.batch),
                       std::span(trial.scalars).subspan(done, part.steps), results);
    for (const StepResult& result : results) {
      given.insert(given.end(),
                   {result.loss, static_cast<double>(result.correct), result.gradient_norm});
    }
    done += part.steps;
  }
  ProgramState state;
  program.ReadState(state);
  for (const auto* values : {&state.parameters, &state.moment1, &state.statistics}) {
    given.insert(given.end(), values->begin(), values->end());
  }
  return given;
}

std::vector<double> GiveFresh(const Trial& trial, const std::vector<Part>& parts,
                              Precision precision = Precision::kFp32) {
  const std::unique_ptr<Program> program = Lowered(trial.graph, precision);
  program->WriteState(RandomState(trial.graph, 23));
  static_cast<CudaProgram&>(*program).PoisonScratch();
  return Give(*program, trial, parts);
}

std::vector<Part> Singles(int steps, int batch) { return std::vector<Part>(steps, {1, batch}); }

TEST(Strides, GiveTheBytesOfSingleStepsInEverySchedule) {
  for (Precision precision : {Precision::kFp32, Precision::kBf16}) {
    const Trial trial(EveryOpNet(3), 5);
    for (int batch : {3, 2}) {
      const std::vector<double> expected = GiveFresh(trial, Singles(5, batch), precision);
      for (int number = 0; number < kScheduleCount; ++number) {
        const WithSchedule schedule(number);
        EXPECT_EQ(GiveFresh(trial, {{5, batch}}, precision), expected);
        const WithLateStreams late;
        EXPECT_EQ(GiveFresh(trial, {{2, batch}, {1, batch}, {2, batch}}, precision), expected);
      }
    }
  }
}

TEST(Strides, OfOtherBatchSizesFollowEachOther) {
  const Trial trial(ResidualNet(4, 4), 9);
  const std::vector<Part> strides = {{3, 4}, {1, 3}, {3, 4}, {2, 1}};
  std::vector<Part> singles;
  for (const Part& part : strides) singles.insert(singles.end(), part.steps, {1, part.batch});
  // The images of a step depend on its number and batch size alone.
  EXPECT_EQ(GiveFresh(trial, strides), GiveFresh(trial, singles));
}

TEST(Strides, GoOnFromAStateOfTheirMiddle) {
  const Trial trial(EveryOpNet(3), 6);
  const std::vector<double> expected = GiveFresh(trial, {{6, 3}});
  const std::unique_ptr<Program> first = Lowered(trial.graph), second = Lowered(trial.graph);
  first->WriteState(RandomState(trial.graph, 23));
  Give(*first, trial, {{4, 3}});
  ProgramState middle;
  first->ReadState(middle);
  second->WriteState(middle);
  std::vector<StepResult> results(2);
  second->TrainSteps(trial.images.set, trial.Indices(4, 2, 3), std::span(trial.scalars).subspan(4),
                     results);
  EXPECT_EQ(results[0].loss, expected[3 * 4]);
  EXPECT_EQ(results[1].gradient_norm, expected[3 * 5 + 2]);
  ProgramState end;
  second->ReadState(end);
  for (size_t i = 0; i < end.parameters.size(); ++i) {
    ASSERT_EQ(end.parameters[i], expected[3 * 6 + i]);
  }
}

Graph TinyNet() {
  GraphMaker maker({1, 2, 2}, 2, 2);
  maker.Linear(0, 2);
  return maker.graph();
}

TEST(Strides, MayBeLongerThanTheTable) {
  constexpr int kSteps = 1100;
  const Trial trial(TinyNet(), kSteps);
  EXPECT_EQ(GiveFresh(trial, {{kSteps, 2}}), GiveFresh(trial, Singles(kSteps, 2)));
}

TEST(Strides, AreOfOneStepUntilItsTimeIsKnownAndNeverLongerThanTheTable) {
  const Trial trial(TinyNet(), 8);
  const std::unique_ptr<Program> program = Lowered(trial.graph);
  EXPECT_EQ(program->StepsAtOnce(), 1);
  for (int i = 0; i < 4; ++i) {
    Give(*program, trial, {{8, 2}});
    EXPECT_GE(program->StepsAtOnce(), 1);
    EXPECT_LE(program->StepsAtOnce(), 1024);
  }
}

TEST(Strides, AreRefusedAsAWholeWhereOneStepCannotBe) {
  const Trial trial(EveryOpNet(3), 3);
  const std::unique_ptr<Program> program = Lowered(trial.graph);
  program->WriteState(RandomState(trial.graph, 23));
  const auto refusal = [&](std::vector<int32_t> indices, size_t results) {
    std::vector<StepResult> into(results);
    return Refusal([&] { program->TrainSteps(trial.images.set, indices, trial.scalars, into); });
  };
  std::vector<int32_t> indices = trial.Indices(0, 3, 3);
  indices.back() = 99;
  EXPECT_EQ(refusal(indices, 3), "image 99 of 11");
  EXPECT_EQ(refusal(trial.Indices(0, 2, 4), 3),
            "3 steps with 8 images and 3 results, expected whole batches and a result each");
  EXPECT_EQ(refusal(trial.Indices(0, 3, 3), 2),
            "3 steps with 9 images and 2 results, expected whole batches and a result each");
  EXPECT_EQ(Give(*program, trial, {{3, 3}}), GiveFresh(trial, {{3, 3}}));
}

TEST(Strides, OfNoStepsDoNothing) {
  const std::unique_ptr<Program> program = Lowered(TinyNet());
  const Images images(TinyNet(), 2, 1);
  program->TrainSteps(images.set, {}, {}, {});
  EXPECT_EQ(program->StepsAtOnce(), 1);
}

}  // namespace
}  // namespace trainyard::kernels::testing
