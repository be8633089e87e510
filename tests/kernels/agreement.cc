#include "tests/kernels/agreement.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>

namespace trainyard::kernels::testing {
namespace {

double Norm(const float* values, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]) * values[i];
  return std::sqrt(sum);
}

}  // namespace

void ExpectClose(const std::string& what, const float* found, const float* expected, int64_t count,
                 double floor, double tolerance) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double d = static_cast<double>(found[i]) - expected[i];
    sum += d * d;
  }
  EXPECT_LE(std::sqrt(sum), tolerance * (Norm(expected, count) + floor)) << what;
}

void ExpectSpansClose(const Graph& graph, const std::string& what, const std::vector<float>& found,
                      const std::vector<float>& expected, double tolerance) {
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

void ExpectAgreement(Backend& found_backend, Backend& expected_backend, const Graph& graph,
                     int batch, bool adamw) {
  SCOPED_TRACE(Describe(graph));
  const std::unique_ptr<Program> tested = found_backend.Lower(graph);
  const std::unique_ptr<Program> reference = expected_backend.Lower(graph);
  const Images images(graph, 3 * batch, 17);
  const std::vector<float> mean(graph.values[0].channels, 0.45f);
  const std::vector<float> inverse_std(graph.values[0].channels, 3.5f);
  const std::vector<float> rates(graph.ops.size(), 0.25f);
  StepScalars scalars = LivelyScalars(rates, adamw);
  ProgramState state = RandomState(graph, 23), found, expected;
  std::vector<float> found_gradients(graph.parameter_count), gradients(graph.parameter_count);
  for (Program* program : {tested.get(), reference.get()}) {
    program->SetNormalisation(mean, inverse_std);
    program->WriteState(state);
  }
  for (scalars.step = 0; scalars.step < 2; ++scalars.step) {
    std::vector<int32_t> indices;
    for (int i = 0; i < batch; ++i) indices.push_back((7 * i + 3) % (3 * batch));
    const StepResult a = tested->TrainStep(images.set, indices, scalars);
    const StepResult b = reference->TrainStep(images.set, indices, scalars);
    EXPECT_NEAR(a.loss, b.loss, 1e-5 * (1 + std::abs(b.loss)));
    EXPECT_EQ(a.correct, b.correct);
    EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 1e-5 * b.gradient_norm);
    tested->ReadGradients(found_gradients);
    reference->ReadGradients(gradients);
    ExpectSpansClose(graph, "gradients", found_gradients, gradients);
    tested->ReadState(found);
    reference->ReadState(expected);
    ExpectSpansClose(graph, "parameters", found.parameters, expected.parameters);
    ExpectSpansClose(graph, "moment1", found.moment1, expected.moment1);
    // Made of squares, so relative errors double.
    if (adamw) ExpectSpansClose(graph, "moment2", found.moment2, expected.moment2, 2e-5);
    ExpectClose("statistics", found.statistics.data(), expected.statistics.data(),
                graph.statistic_count, 0);
    if (::testing::Test::HasFailure()) return;
    // Both go on from the same state, so that the second step is compared as strictly.
    tested->WriteState(expected);
    reference->WriteState(expected);
  }
  std::vector<float> logits(batch * graph.classes), expected_logits(batch * graph.classes);
  const EvaluationResult a = tested->Evaluate(images.set, FirstIndices(batch), logits);
  const EvaluationResult b = reference->Evaluate(images.set, FirstIndices(batch), expected_logits);
  EXPECT_NEAR(a.loss_sum, b.loss_sum, 1e-5 * (1 + b.loss_sum));
  EXPECT_EQ(a.correct, b.correct);
  ExpectClose("logits", logits.data(), expected_logits.data(), static_cast<int64_t>(logits.size()),
              0);
}

std::vector<bool> InputZeros(Program& program, const Graph& graph, const ImageSet& images,
                             const StepScalars& scalars) {
  program.TrainStep(images, FirstIndices(1), scalars);
  std::vector<float> gradients(graph.parameter_count);
  program.ReadGradients(gradients);
  std::vector<bool> zeros;
  for (int64_t i = 0; i < graph.parameter_count / 2; ++i) zeros.push_back(gradients[i] == 0);
  return zeros;
}

std::vector<float> Trajectory(Program& program, const Graph& graph, int steps,
                              const std::function<void(int)>& before_step) {
  const Images images(graph, 64, 5);
  const std::vector<float> rates(graph.ops.size(), 0.25f);
  StepScalars scalars = LivelyScalars(rates, false);
  program.WriteState(RandomState(graph, 3));
  for (scalars.step = 0; scalars.step < steps; ++scalars.step) {
    const int batch = scalars.step % 3 == 2 ? (graph.batch_size + 1) / 2 : graph.batch_size;
    if (before_step) before_step(static_cast<int>(scalars.step));
    program.TrainStep(images.set, FirstIndices(batch), scalars);
  }
  ProgramState state;
  program.ReadState(state);
  state.parameters.insert(state.parameters.end(), state.statistics.begin(), state.statistics.end());
  return state.parameters;
}

bool SameBytes(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace trainyard::kernels::testing
