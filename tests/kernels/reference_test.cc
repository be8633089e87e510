// The reference's derivatives are those of its loss (central differences in double), and its
// optimizers are the published formulas.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

// Compares every parameter's gradient with (loss(w + h) - loss(w - h)) / 2h.
void ExpectGradients(const Graph& graph, float smoothing = 0) {
  const std::unique_ptr<Program> program = MakeBackend({"reference", 1})->Lower(graph);
  const Images images(graph, graph.batch_size, 5);
  const std::vector<int32_t> indices = FirstIndices(graph.batch_size);
  const std::vector<float> rates(graph.ops.size(), 0.375f);
  StepScalars scalars = StillScalars(rates);
  scalars.seed = 3;
  scalars.label_smoothing = smoothing;
  ProgramState state = RandomState(graph, 7);
  program->WriteState(state);
  program->TrainStep(images.set, indices, scalars);
  std::vector<float> gradients(graph.parameter_count);
  program->ReadGradients(gradients);
  // Parameters are multiples of 2^-16 below 8, so both shifted values are exact floats.
  const float h = std::ldexp(1.0f, -20);
  auto loss_at = [&](int64_t i, float value) {
    const float kept = std::exchange(state.parameters[i], value);
    program->WriteState(state);
    state.parameters[i] = kept;
    return program->TrainStep(images.set, indices, scalars).loss;
  };
  for (int64_t i = 0; i < graph.parameter_count; ++i) {
    const float w = state.parameters[i];
    const double slope = (loss_at(i, w + h) - loss_at(i, w - h)) / (2 * static_cast<double>(h));
    ASSERT_NEAR(gradients[i], slope, 2e-7 + 1e-6 * std::abs(slope)) << "parameter " << i;
  }
}

// A convolution before the op under test, so that its input's gradient is seen too.
Graph Around(ValueShape input, int filters, const std::function<int(GraphMaker&, int)>& op) {
  GraphMaker maker(input, 3, 4);
  maker.Linear(op(maker, maker.Conv3x3(0, filters)), 4);
  return maker.graph();
}

TEST(ReferenceGradient, Convolution) {
  ExpectGradients(Around({2, 6, 5}, 4, [](GraphMaker& maker, int x) {
    return maker.Conv(x, 3, 3, 2, 2, 1, {1, 0, 0, 1}, 1, true);
  }));
}

TEST(ReferenceGradient, GroupedConvolution) {
  ExpectGradients(Around({2, 5, 5}, 6, [](GraphMaker& maker, int x) {
    return maker.Conv(maker.Conv(x, 6, 3, 3, 1, 1, {1, 1, 1, 1}, 3, true), 12, 2, 2, 1, 2, {}, 6,
                      false);
  }));
}

TEST(ReferenceGradient, BatchNorm) {
  ExpectGradients(Around(
      {1, 4, 4}, 3, [](GraphMaker& maker, int x) { return maker.Conv3x3(maker.BatchNorm(x), 2); }));
}

TEST(ReferenceGradient, Relu) {
  ExpectGradients(
      Around({1, 5, 4}, 3, [](GraphMaker& maker, int x) { return maker.Relu(x, 0.25f); }));
}

TEST(ReferenceGradient, MaxPoolWithPaddingAndOverlap) {
  ExpectGradients(Around({1, 7, 6}, 3, [](GraphMaker& maker, int x) {
    return maker.Pool(x, OpKind::kMaxPool, 3, 2, 2, 1, {1, 1, 0, 1});
  }));
}

TEST(ReferenceGradient, AvgPoolWithPaddingAndOverlap) {
  ExpectGradients(Around({1, 7, 6}, 3, [](GraphMaker& maker, int x) {
    return maker.Pool(x, OpKind::kAvgPool, 3, 2, 2, 1, {1, 1, 0, 1});
  }));
}

TEST(ReferenceGradient, GlobalAvgPool) {
  ExpectGradients(
      Around({1, 5, 3}, 4, [](GraphMaker& maker, int x) { return maker.GlobalAvgPool(x); }));
}

TEST(ReferenceGradient, Dropout) {
  ExpectGradients(Around({1, 4, 3}, 3, [](GraphMaker& maker, int x) { return maker.Dropout(x); }));
}

TEST(ReferenceGradient, Linear) {
  ExpectGradients(Around({1, 3, 3}, 2, [](GraphMaker& maker, int x) {
    return maker.Linear(maker.Linear(x, 6, true), 5, false);
  }));
}

TEST(ReferenceGradient, AddOfTwoBranchesAndOfAValueToItself) {
  ExpectGradients(Around({1, 4, 4}, 3, [](GraphMaker& maker, int x) {
    const int sum = maker.Add(maker.Conv3x3(x, 3), x);
    return maker.Add(sum, sum);
  }));
}

TEST(ReferenceGradient, LabelSmoothing) {
  ExpectGradients(Around({1, 3, 3}, 2, [](GraphMaker&, int x) { return x; }), 0.125f);
}

TEST(ReferenceGradient, WholeRandomNetworks) {
  int checked = 0;
  for (uint64_t seed = 0; checked < 12; ++seed) {
    const Graph graph = RandomGraph(seed);
    if (graph.parameter_count > 600) continue;
    SCOPED_TRACE("seed " + std::to_string(seed));
    ExpectGradients(graph);
    ++checked;
  }
}

// One linear layer: two parameter slices, of which the weights decay and the biases do not.
struct Optimized {
  Graph graph;
  ProgramState before, after;
  std::vector<double> gradients;
  double norm = 0;

  explicit Optimized(const StepScalars& scalars) {
    GraphMaker maker({1, 2, 2}, 4, 3);
    maker.Linear(0, 3);
    graph = maker.graph();
    const std::unique_ptr<Program> program = MakeBackend({"reference", 1})->Lower(graph);
    const Images images(graph, 4, 1);
    before = RandomState(graph, 2);
    for (size_t i = 0; i < before.moment1.size(); ++i) {
      before.moment1[i] = 0.001f * static_cast<float>(i);
      before.moment2[i] = 0.002f * static_cast<float>(i);
    }
    program->WriteState(before);
    norm = program->TrainStep(images.set, FirstIndices(4), scalars).gradient_norm;
    program->ReadState(after);
    std::vector<float> read(graph.parameter_count);
    program->ReadGradients(read);
    gradients.assign(read.begin(), read.end());
  }
  double decay(size_t i, double value) const { return i < 12 ? value : 0; }
};

StepScalars SgdScalars() {
  StepScalars scalars;
  scalars.learning_rate = 0.5f;
  scalars.momentum = 0.75f;
  scalars.weight_decay = 0.125f;
  return scalars;
}

TEST(ReferenceOptimizer, SgdWithMomentumAndDecay) {
  const Optimized run(SgdScalars());
  for (size_t i = 0; i < run.gradients.size(); ++i) {
    const double w = run.before.parameters[i];
    const double g = run.gradients[i] + run.decay(i, 0.125) * w;
    const double v = 0.75 * run.before.moment1[i] + g;
    EXPECT_NEAR(run.after.moment1[i], v, 1e-6);
    EXPECT_NEAR(run.after.parameters[i], w - 0.5 * v, 1e-6);
  }
}

TEST(ReferenceOptimizer, NesterovLooksAhead) {
  StepScalars scalars = SgdScalars();
  scalars.nesterov = true;
  const Optimized run(scalars);
  for (size_t i = 0; i < run.gradients.size(); ++i) {
    const double w = run.before.parameters[i];
    const double g = run.gradients[i] + run.decay(i, 0.125) * w;
    const double v = 0.75 * run.before.moment1[i] + g;
    EXPECT_NEAR(run.after.parameters[i], w - 0.5 * (g + 0.75 * v), 1e-6);
  }
}

TEST(ReferenceOptimizer, AdamWDecaysApartFromTheGradient) {
  StepScalars scalars;
  scalars.optimizer = OptimizerKind::kAdamW;
  scalars.learning_rate = 0.01f;
  scalars.beta1 = 0.75f;
  scalars.beta2 = 0.875f;
  scalars.epsilon = 1e-3f;
  scalars.weight_decay = 0.25f;
  scalars.step = 4;  // the fifth
  const Optimized run(scalars);
  for (size_t i = 0; i < run.gradients.size(); ++i) {
    const double w = run.before.parameters[i], g = run.gradients[i];
    const double m = 0.75 * run.before.moment1[i] + 0.25 * g;
    const double v = 0.875 * run.before.moment2[i] + 0.125 * g * g;
    const double m_hat = m / (1 - std::pow(0.75, 5)), v_hat = v / (1 - std::pow(0.875, 5));
    EXPECT_NEAR(run.after.moment1[i], m, 1e-6);
    EXPECT_NEAR(run.after.moment2[i], v, 1e-6);
    EXPECT_NEAR(run.after.parameters[i],
                w - 0.01 * (m_hat / (std::sqrt(v_hat) + 1e-3) + run.decay(i, 0.25) * w), 1e-6);
  }
}

TEST(ReferenceOptimizer, ClippingScalesTheWholeGradientDownToTheNorm) {
  StepScalars scalars;
  scalars.learning_rate = 1.0f;
  scalars.clip_norm = 0.25f;
  const Optimized run(scalars);
  ASSERT_GT(run.norm, 0.25);
  double sum = 0;
  for (size_t i = 0; i < run.gradients.size(); ++i) {
    const double moved = static_cast<double>(run.before.parameters[i]) - run.after.parameters[i];
    EXPECT_NEAR(moved, run.gradients[i] * 0.25 / run.norm, 1e-6);
    sum += moved * moved;
  }
  EXPECT_NEAR(std::sqrt(sum), 0.25, 1e-5);
}

TEST(ReferenceOptimizer, ClippingLeavesSmallGradientsAlone) {
  StepScalars scalars;
  scalars.learning_rate = 1.0f;
  scalars.clip_norm = 1000;
  const Optimized run(scalars);
  for (size_t i = 0; i < run.gradients.size(); ++i) {
    EXPECT_NEAR(run.before.parameters[i] - run.after.parameters[i], run.gradients[i], 1e-6);
  }
}

TEST(ReferenceBatchNorm, RunningStatisticsFollowTheUnbiasedVariance) {
  GraphMaker maker({1, 1, 1}, 4, 2);
  maker.Linear(maker.BatchNorm(0), 2);
  const Graph graph = maker.graph();
  const std::unique_ptr<Program> program = MakeBackend({"reference", 1})->Lower(graph);
  const std::vector<uint8_t> pixels = {0, 51, 102, 255};  // 0, 0.2, 0.4, 1
  const std::vector<int32_t> labels = {0, 1, 0, 1};
  ProgramState state = RandomState(graph, 1);
  state.statistics = {0.5f, 2.0f};
  program->WriteState(state);
  program->TrainStep({pixels, labels, graph.values[0]}, FirstIndices(4), StillScalars({}));
  program->ReadState(state);
  const double mean = 0.4, unbiased = (0.16 + 0.04 + 0 + 0.36) / 3;
  EXPECT_NEAR(state.statistics[0], 0.9 * 0.5 + 0.1 * mean, 1e-6);
  EXPECT_NEAR(state.statistics[1], 0.9 * 2.0 + 0.1 * unbiased, 1e-6);
}

}  // namespace
}  // namespace trainyard::kernels::testing
