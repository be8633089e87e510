// The cpu backend computes what the reference computes, and does it the same way every time.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/program.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

std::unique_ptr<Program> Lower(const std::string& backend, const Graph& graph, int threads = 2) {
  return MakeBackend(backend, threads)->Lower(graph);
}

double Norm(const float* values, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]) * values[i];
  return std::sqrt(sum);
}

// Relative L2 of one tensor. The floor is a share of the whole span's norm: some gradients are zero
// but for rounding (a bias before a batch norm, which takes the mean away again), and a relative
// error of zero means nothing.
void ExpectClose(const std::string& what, const float* found, const float* expected, int64_t count,
                 double floor, double tolerance = 1e-5) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double d = static_cast<double>(found[i]) - expected[i];
    sum += d * d;
  }
  EXPECT_LE(std::sqrt(sum), tolerance * (Norm(expected, count) + floor)) << what;
}

void ExpectSpansClose(const Graph& graph, const std::string& what, const std::vector<float>& found,
                      const std::vector<float>& expected, double tolerance = 1e-5) {
  ASSERT_EQ(found.size(), expected.size());
  const double floor = 0.1 * Norm(expected.data(), graph.parameter_count);
  for (const Graph::Slice& slice : graph.slices) {
    ExpectClose(what + " at " + std::to_string(slice.offset), found.data() + slice.offset,
                expected.data() + slice.offset, slice.size, floor, tolerance);
  }
}

StepScalars LivelyScalars(const std::vector<float>& rates, bool adamw) {
  StepScalars scalars;
  scalars.seed = 99;
  scalars.optimizer = adamw ? OptimizerKind::kAdamW : OptimizerKind::kSgd;
  scalars.learning_rate = 0.01f;
  scalars.momentum = 0.9f;
  scalars.nesterov = true;
  scalars.beta1 = 0.9f;
  scalars.beta2 = 0.99f;
  scalars.epsilon = 1e-3f;
  scalars.weight_decay = 0.01f;
  scalars.clip_norm = 1.0f;
  scalars.label_smoothing = 0.1f;
  scalars.flip = true;
  scalars.shift = 1;
  scalars.cutout = 2;
  scalars.dropout_rates = rates;
  return scalars;
}

std::string Describe(const Graph& graph) {
  std::string text = "batch " + std::to_string(graph.batch_size);
  auto shape = [&](int value) {
    const ValueShape& s = graph.values[value];
    return std::to_string(s.channels) + "x" + std::to_string(s.height) + "x" +
           std::to_string(s.width);
  };
  text += " input " + shape(0);
  for (const Op& op : graph.ops) {
    text += "\n" + std::to_string(static_cast<int>(op.kind)) + " (" + std::to_string(op.inputs[0]) +
            ") -> " + shape(op.output) + " kernel " + std::to_string(op.kernel_h) + "x" +
            std::to_string(op.kernel_w) + " stride " + std::to_string(op.stride_h) + "x" +
            std::to_string(op.stride_w) + " groups " + std::to_string(op.groups);
  }
  return text;
}

// Two steps and an evaluation on both backends, on `batch` images.
void ExpectAgreement(const Graph& graph, int batch, bool adamw) {
  SCOPED_TRACE(Describe(graph));
  const std::unique_ptr<Program> cpu = Lower("cpu", graph), reference = Lower("reference", graph);
  const Images images(graph, 3 * batch, 17);
  const std::vector<float> mean(graph.values[0].channels, 0.45f);
  const std::vector<float> inverse_std(graph.values[0].channels, 3.5f);
  const std::vector<float> rates(graph.ops.size(), 0.25f);
  StepScalars scalars = LivelyScalars(rates, adamw);
  ProgramState state = RandomState(graph, 23), found, expected;
  std::vector<float> found_gradients(graph.parameter_count), gradients(graph.parameter_count);
  for (Program* program : {cpu.get(), reference.get()}) {
    program->SetNormalisation(mean, inverse_std);
    program->WriteState(state);
  }
  for (scalars.step = 0; scalars.step < 2; ++scalars.step) {
    std::vector<int32_t> indices;
    for (int i = 0; i < batch; ++i) indices.push_back((7 * i + 3) % (3 * batch));
    const StepResult a = cpu->TrainStep(images.set, indices, scalars);
    const StepResult b = reference->TrainStep(images.set, indices, scalars);
    EXPECT_NEAR(a.loss, b.loss, 1e-5 * (1 + std::abs(b.loss)));
    EXPECT_EQ(a.correct, b.correct);
    EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 1e-5 * b.gradient_norm);
    cpu->ReadGradients(found_gradients);
    reference->ReadGradients(gradients);
    ExpectSpansClose(graph, "gradients", found_gradients, gradients);
    cpu->ReadState(found);
    reference->ReadState(expected);
    ExpectSpansClose(graph, "parameters", found.parameters, expected.parameters);
    ExpectSpansClose(graph, "moment1", found.moment1, expected.moment1);
    // Made of squares, so relative errors double.
    if (adamw) ExpectSpansClose(graph, "moment2", found.moment2, expected.moment2, 2e-5);
    ExpectClose("statistics", found.statistics.data(), expected.statistics.data(),
                graph.statistic_count, 0);
    if (::testing::Test::HasFailure()) return;
    // Both go on from the same state, so that the second step is compared as strictly.
    cpu->WriteState(expected);
    reference->WriteState(expected);
  }
  std::vector<float> logits(batch * graph.classes), expected_logits(batch * graph.classes);
  const EvaluationResult a = cpu->Evaluate(images.set, FirstIndices(batch), logits);
  const EvaluationResult b = reference->Evaluate(images.set, FirstIndices(batch), expected_logits);
  EXPECT_NEAR(a.loss_sum, b.loss_sum, 1e-5 * (1 + b.loss_sum));
  EXPECT_EQ(a.correct, b.correct);
  ExpectClose("logits", logits.data(), expected_logits.data(), static_cast<int64_t>(logits.size()),
              0);
}

class RandomGraphs : public ::testing::TestWithParam<int> {};

TEST_P(RandomGraphs, AgreeWithTheReference) {
  for (int seed = 25 * GetParam(); seed < 25 * (GetParam() + 1); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Graph graph = RandomGraph(seed);
    ExpectAgreement(graph, graph.batch_size, seed % 2 == 1);
    if (::testing::Test::HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomGraphs, ::testing::Range(0, 8));

TEST(Cpu, PartialBatchesAgreeWithTheReference) {
  for (int seed = 1000; seed < 1040; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Graph graph = RandomGraph(seed);
    ExpectAgreement(graph, (graph.batch_size + 1) / 2, false);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Cpu, KerasCnnAgreesWithTheReference) { ExpectAgreement(KerasCnn(4), 4, false); }

TEST(Cpu, FirstLayersOfOneToFourChannelsAgreeWithTheReference) {
  for (int channels = 1; channels <= 4; ++channels) {
    for (int kernel : {1, 3, 5, 7}) {
      GraphMaker maker({channels, 13, 11}, 5, 3);
      const int x = maker.Conv(0, 24, kernel, kernel, 2, 1, {kernel / 2, 0, kernel / 3, kernel / 2},
                               1, kernel != 5);
      maker.Linear(maker.GlobalAvgPool(maker.Relu(x)), 3);
      ExpectAgreement(maker.graph(), 5, false);
    }
  }
}

// A linear layer on one image of ones: its weight's gradient is zero exactly where its input is,
// and two classes give one row that is not.
std::vector<bool> InputZeros(Program& program, const Graph& graph, const ImageSet& images,
                             const StepScalars& scalars) {
  program.TrainStep(images, FirstIndices(1), scalars);
  std::vector<float> gradients(graph.parameter_count);
  program.ReadGradients(gradients);
  std::vector<bool> zeros;
  for (int64_t i = 0; i < graph.parameter_count / 2; ++i) zeros.push_back(gradients[i] == 0);
  return zeros;
}

TEST(Cpu, DropoutMasksAreTheReferencesBitForBit) {
  GraphMaker maker({5, 31, 33}, 1, 2);
  maker.Linear(maker.Dropout(0), 2, false);
  const Graph graph = maker.graph();
  const std::vector<uint8_t> pixels(graph.values[0].size(), 255);
  const std::vector<int32_t> labels = {0};
  const std::vector<float> rates = {0.3f};
  for (int step = 0; step < 3; ++step) {
    StepScalars scalars = StillScalars(rates);
    scalars.seed = 5;
    scalars.step = step;
    std::vector<std::vector<bool>> zeros;
    for (const char* backend : {"cpu", "reference"}) {
      const std::unique_ptr<Program> program = Lower(backend, graph);
      program->WriteState(RandomState(graph, 1));
      zeros.push_back(InputZeros(*program, graph, {pixels, labels, graph.values[0]}, scalars));
    }
    EXPECT_EQ(zeros[0], zeros[1]);
    const double share =
        std::count(zeros[1].begin(), zeros[1].end(), true) / static_cast<double>(zeros[1].size());
    EXPECT_NEAR(share, 0.3, 0.05);
  }
}

TEST(Cpu, DropoutOfBlockedActivationsMatchesTheReferenceForEveryPlane) {
  // Planes of 1 to 1225 pixels and odd channels: every way in which a mask is dealt out to lanes.
  for (int side : {1, 2, 3, 5, 8, 16, 31, 35}) {
    for (int channels : {3, 16, 21}) {
      GraphMaker maker({3, side, side}, 3, 4);
      maker.Linear(maker.Dropout(maker.Conv3x3(0, channels)), 4);
      ExpectAgreement(maker.graph(), 3, false);
    }
  }
}

TEST(Cpu, AugmentedInputsAreTheReferencesBitForBit) {
  GraphMaker maker({3, 9, 8}, 1, 2);
  maker.Linear(0, 2, false);
  const Graph graph = maker.graph();
  const Images images(graph, 1, 3);
  StepScalars scalars = LivelyScalars({}, false);
  scalars.cutout = 4;
  for (scalars.step = 0; scalars.step < 20; ++scalars.step) {
    std::vector<std::vector<bool>> zeros;
    for (const char* backend : {"cpu", "reference"}) {
      const std::unique_ptr<Program> program = Lower(backend, graph);
      program->WriteState(RandomState(graph, 1));
      zeros.push_back(InputZeros(*program, graph, images.set, scalars));
    }
    EXPECT_EQ(zeros[0], zeros[1]);
  }
}

std::vector<float> Trajectory(const Graph& graph, int threads, int steps, bool poison = false) {
  const std::unique_ptr<Program> program = Lower("cpu", graph, threads);
  const Images images(graph, 64, 5);
  const std::vector<float> rates(graph.ops.size(), 0.25f);
  StepScalars scalars = LivelyScalars(rates, false);
  program->WriteState(RandomState(graph, 3));
  for (scalars.step = 0; scalars.step < steps; ++scalars.step) {
    // The last batch of every three is a partial one.
    const int batch = scalars.step % 3 == 2 ? (graph.batch_size + 1) / 2 : graph.batch_size;
    if (poison) static_cast<cpu::CpuProgram&>(*program).PoisonScratch();
    program->TrainStep(images.set, FirstIndices(batch), scalars);
  }
  ProgramState state;
  program->ReadState(state);
  state.parameters.insert(state.parameters.end(), state.statistics.begin(), state.statistics.end());
  return state.parameters;
}

bool SameBytes(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Cpu, TwoRunsGiveTheSameBytes) {
  EXPECT_TRUE(SameBytes(Trajectory(KerasCnn(32), 2, 6), Trajectory(KerasCnn(32), 2, 6)));
  for (int seed = 2000; seed < 2010; ++seed) {
    const Graph graph = RandomGraph(seed);
    for (int threads : {1, 2, 3}) {
      EXPECT_TRUE(SameBytes(Trajectory(graph, threads, 4), Trajectory(graph, threads, 4)))
          << "seed " << seed << " threads " << threads;
    }
  }
}

TEST(Cpu, StepsReadNothingThatTheyHaveNotWritten) {
  EXPECT_TRUE(SameBytes(Trajectory(KerasCnn(16), 2, 4), Trajectory(KerasCnn(16), 2, 4, true)));
  for (int seed = 3000; seed < 3060; ++seed) {
    const Graph graph = RandomGraph(seed);
    EXPECT_TRUE(SameBytes(Trajectory(graph, 2, 4), Trajectory(graph, 2, 4, true)))
        << "seed " << seed << "\n"
        << Describe(graph);
  }
}

}  // namespace
}  // namespace trainyard::kernels::testing
