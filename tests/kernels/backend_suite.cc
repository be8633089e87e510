#include "tests/kernels/backend_suite.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/kernels/agreement.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

std::unique_ptr<Program> Lower(const BackendUnderTest& backend, const Graph& graph) {
  return backend.make()->Lower(graph);
}

StepScalars AdamWScalars(const std::vector<float>& rates) {
  StepScalars scalars = StillScalars(rates);
  scalars.optimizer = OptimizerKind::kAdamW;
  scalars.learning_rate = 0.01f;
  scalars.beta1 = 0.9f;
  scalars.beta2 = 0.99f;
  scalars.epsilon = 1e-3f;
  scalars.flip = true;
  return scalars;
}

}  // namespace

TEST_P(EveryBackend, StateComesBackAsItWentIn) {
  const Graph graph = RandomGraph(4);
  const std::unique_ptr<Program> program = Lower(GetParam(), graph);
  ProgramState state = RandomState(graph, 1), read;
  for (size_t i = 0; i < state.moment1.size(); ++i) {
    state.moment1[i] = 0.1f * static_cast<float>(i);
    state.moment2[i] = 0.3f * static_cast<float>(i);
  }
  program->WriteState(state);
  program->ReadState(read);
  EXPECT_EQ(read.parameters, state.parameters);
  EXPECT_EQ(read.moment1, state.moment1);
  EXPECT_EQ(read.moment2, state.moment2);
  EXPECT_EQ(read.statistics, state.statistics);
}

TEST_P(EveryBackend, ContinuingFromASavedStateGivesWhatGoingOnGives) {
  const Graph graph = KerasCnn(8);
  const Images images(graph, 8, 5);
  const std::vector<float> rates = {0.25f, 0.5f};
  StepScalars scalars = AdamWScalars(rates);
  const std::unique_ptr<Program> through = Lower(GetParam(), graph);
  through->WriteState(RandomState(graph, 1));
  through->TrainStep(images.set, FirstIndices(8), scalars);
  ProgramState saved;
  through->ReadState(saved);
  through->WriteState(saved);  // what a checkpoint does: state is rounded to float
  scalars.step = 1;
  const double loss = through->TrainStep(images.set, FirstIndices(8), scalars).loss;
  const std::unique_ptr<Program> resumed = Lower(GetParam(), graph);
  resumed->WriteState(saved);
  EXPECT_EQ(resumed->TrainStep(images.set, FirstIndices(8), scalars).loss, loss);
  ProgramState a, b;
  through->ReadState(a);
  resumed->ReadState(b);
  EXPECT_TRUE(SameBytes(a.parameters, b.parameters));
  EXPECT_TRUE(SameBytes(a.moment2, b.moment2));
}

TEST_P(EveryBackend, NaNParametersGiveNaNLoss) {
  const Graph graph = KerasCnn(4);
  const std::unique_ptr<Program> program = Lower(GetParam(), graph);
  const Images images(graph, 4, 5);
  const std::vector<float> rates = {0.25f, 0.5f};
  ProgramState state = RandomState(graph, 1);
  state.parameters[3] = std::numeric_limits<float>::quiet_NaN();  // in the first convolution
  program->WriteState(state);
  EXPECT_TRUE(std::isnan(program->Evaluate(images.set, FirstIndices(4), {}).loss_sum));
  const StepResult result = program->TrainStep(images.set, FirstIndices(4), StillScalars(rates));
  EXPECT_TRUE(std::isnan(result.loss));
  EXPECT_TRUE(std::isnan(result.gradient_norm));
  program->WriteState(RandomState(graph, 1));
  EXPECT_TRUE(std::isfinite(program->Evaluate(images.set, FirstIndices(4), {}).loss_sum));
}

TEST_P(EveryBackend, AnUpdateThatDivergesGivesNaNLossInTheNextStep) {
  const Graph graph = KerasCnn(4);
  const std::unique_ptr<Program> program = Lower(GetParam(), graph);
  const Images images(graph, 4, 5);
  const std::vector<float> rates = {0.0f, 0.0f};
  program->WriteState(RandomState(graph, 1));
  StepScalars scalars = StillScalars(rates);
  scalars.learning_rate = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isfinite(program->TrainStep(images.set, FirstIndices(4), scalars).loss));
  EXPECT_FALSE(std::isfinite(program->TrainStep(images.set, FirstIndices(4), scalars).loss));
}

TEST_P(EveryBackend, RefusesWhatItCannotRunAndSaysWhy) {
  const Graph graph = KerasCnn(4);
  const std::unique_ptr<Program> program = Lower(GetParam(), graph);
  const Images images(graph, 8, 5);
  const std::vector<float> rates = {0.25f, 0.5f};
  auto message = [&](const ImageSet& set, std::vector<int32_t> indices,
                     const StepScalars& scalars) -> std::string {
    try {
      program->TrainStep(set, indices, scalars);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(message(images.set, FirstIndices(5), StillScalars(rates)),
              HasSubstr("a batch of 5 images, expected 1 to 4"));
  EXPECT_THAT(message(images.set, {}, StillScalars(rates)), HasSubstr("a batch of 0"));
  EXPECT_THAT(message(images.set, {8}, StillScalars(rates)), HasSubstr("image 8 of 8"));
  EXPECT_THAT(message(images.set, {1}, StillScalars({0.5f})),
              HasSubstr("wants dropout rate 1 of 1"));
  EXPECT_THAT(message(images.set, {1}, StillScalars({0.5f, 1.0f})), HasSubstr("less than 1"));
  std::vector<int32_t> labels(8, 10);
  ImageSet wrong = images.set;
  wrong.labels = labels;
  EXPECT_THAT(message(wrong, {2}, StillScalars(rates)), HasSubstr("image 2 has label 10"));
  wrong = images.set;
  wrong.shape = {3, 28, 28};
  EXPECT_THAT(message(wrong, {0}, StillScalars(rates)), HasSubstr("images are 3x28x28"));
  ProgramState state = RandomState(graph, 1);
  state.parameters.pop_back();
  EXPECT_THROW(program->WriteState(state), Error);
}

TEST_P(EveryBackend, RefusesBrokenGraphsNamingTheOp) {
  Graph graph = KerasCnn(4);
  graph.ops[2].groups = 5;
  try {
    Lower(GetParam(), graph);
    FAIL() << "lowered";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("layers.2 (conv): groups = 5"));
  }
  graph = KerasCnn(4);
  graph.ops[4].inputs = {9};
  EXPECT_THROW(Lower(GetParam(), graph), Error);
  graph = KerasCnn(4);
  graph.values[3].height = 25;
  EXPECT_THROW(Lower(GetParam(), graph), Error);
}

TEST_P(EveryBackend, RefusesMoreMemoryThanThereIs) {
  try {
    Lower(GetParam(), KerasCnn(1 << 24));
    FAIL() << "lowered";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("MiB"));
  }
}

}  // namespace trainyard::kernels::testing
