// The step program over our kernels computes what the reference computes.
#include "kernels/cuda/program.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/backend.h"
#include "tests/kernels/agreement.h"
#include "tests/kernels/agreement_suite.h"
#include "tests/kernels/backend_suite.h"
#include "tests/kernels/cuda/networks.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

using cuda::MakeCudaBackend;

std::unique_ptr<Program> Lowered(const Graph& graph) {
  return MakeCudaBackend({.precision = Precision::kFp32, .libraries = false})->Lower(graph);
}

// Our kernels alone, or NVIDIA's libraries where they take a layer (and the build has them).
BackendUnderTest Under(Precision precision, bool libraries) {
  return {std::string(PrecisionName(precision)) + (libraries ? "_libraries" : ""),
          [=] { return MakeCudaBackend({.precision = precision, .libraries = libraries}); }};
}
const BackendUnderTest kFp32 = Under(Precision::kFp32, false);
const BackendUnderTest kFp32Libraries = Under(Precision::kFp32, true);

INSTANTIATE_TEST_SUITE_P(Cuda, EveryBackend,
                         ::testing::Values(kFp32, kFp32Libraries, Under(Precision::kBf16, false),
                                           Under(Precision::kBf16, true)),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Cuda, AgreesWithReference, ::testing::Values(kFp32, kFp32Libraries),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Seeds, RandomGraphs,
                         ::testing::Combine(::testing::Values(kFp32, kFp32Libraries),
                                            ::testing::Range(0, kShards)),
                         ShardOf);

TEST(Program, ResidualNetAgreesWithTheReference) {
  ExpectAgreementWithReference(kFp32, ResidualNet(4, 8), 4, true);
}

TEST(Program, SeparableNetAgreesWithTheReference) {
  ExpectAgreementWithReference(kFp32, SeparableNet(4, 8), 4, false);
}

TEST(Program, EveryOpAgreesWithTheReference) {
  ExpectAgreementWithReference(kFp32, EveryOpNet(5), 5, false);
}

#if defined(TRAINYARD_WITH_CPU)
// Two steps and an evaluation: loss, gradients and updated state tensor by tensor, logits.
TEST(Program, EveryLayerAgreesWithTheCpuBackend) {
  const std::unique_ptr<Backend> backend = kFp32.make(), cpu = MakeBackend({"cpu", 2});
  for (const Graph& graph : {EveryOpNet(5), ResidualNet(4, 8), SeparableNet(4, 8), KerasCnn(2)}) {
    for (bool adamw : {false, true}) {
      ExpectAgreement(*backend, *cpu, graph, graph.batch_size, adamw);
    }
  }
}
#endif

// What one step and one evaluation give from the same state.
struct Computed {
  StepResult result;
  std::vector<float> gradients, logits;
};

Computed Compute(Backend& backend, const Graph& graph) {
  const std::unique_ptr<Program> program = backend.Lower(graph);
  const Images images(graph, graph.batch_size, 17);
  const std::vector<float> rates(graph.ops.size(), 0.25f);
  program->SetNormalisation(std::vector<float>(graph.values[0].channels, 0.45f),
                            std::vector<float>(graph.values[0].channels, 3.5f));
  program->WriteState(RandomState(graph, 23));
  Computed computed;
  computed.gradients.resize(graph.parameter_count);
  computed.logits.resize(graph.batch_size * graph.classes);
  const std::vector<int32_t> indices = FirstIndices(graph.batch_size);
  program->Evaluate(images.set, indices, computed.logits);
  computed.result = program->TrainStep(images.set, indices, LivelyScalars(rates, false));
  program->ReadGradients(computed.gradients);
  return computed;
}

void ExpectAgreementWithin(double tolerance, const Graph& graph, Precision precision) {
#if defined(TRAINYARD_WITH_CPU)
  const std::unique_ptr<Backend> yardstick = MakeBackend({"cpu", 2});
#else
  const std::unique_ptr<Backend> yardstick = MakeBackend({"reference", 0});
#endif
  const Computed expected = Compute(*yardstick, graph);
  for (const BackendUnderTest& under : {Under(precision, false), Under(precision, true)}) {
    SCOPED_TRACE(under.name + " within " + std::to_string(tolerance) + "\n" + Describe(graph));
    const Computed found = Compute(*under.make(), graph);
    EXPECT_NEAR(found.result.loss, expected.result.loss, tolerance * expected.result.loss);
    EXPECT_NEAR(found.result.gradient_norm, expected.result.gradient_norm,
                tolerance * expected.result.gradient_norm);
    ExpectSpansClose(graph, "gradients", found.gradients, expected.gradients, tolerance);
    ExpectClose("logits", found.logits.data(), expected.logits.data(),
                static_cast<int64_t>(found.logits.size()), 0, tolerance);
  }
}

// With kinks, the comparison says only that no layer is lost (see WithoutKinks).
constexpr double kKinkTolerance = 0.2;

std::vector<Graph> LowPrecisionNets() {
  return {EveryOpNet(4), ResidualNet(4, 16), SeparableNet(4, 16)};
}

// Operands are rounded to 10 bits: each is off by 2^-11 / sqrt(3) = 2.8e-4, and some ten products
// lie between the images and the first layer's gradient.
TEST(Program, GradientsOfEveryLayerAgreeInTf32) {
  for (const Graph& graph : LowPrecisionNets()) {
    ExpectAgreementWithin(2e-3, WithoutKinks(graph), Precision::kTf32);
    ExpectAgreementWithin(kKinkTolerance, graph, Precision::kTf32);
  }
}

// A bf16 has 8 bits: every tensor that is stored is off by 2^-9 / sqrt(3) = 1.1e-3, and up to
// thirty of them lie between the images and the first layer's gradient: 6e-3. Batch norms of four
// images, which take the mean away from activations and gradients, make it up to 2.2e-2.
TEST(Program, GradientsOfEveryLayerAgreeInBf16) {
  for (const Graph& graph : LowPrecisionNets()) {
    ExpectAgreementWithin(3e-2, WithoutKinks(graph), Precision::kBf16);
    ExpectAgreementWithin(kKinkTolerance, graph, Precision::kBf16);
  }
}

TEST(Program, GradientsAreTheLossesSlopes) {
  const Graph graph = WithoutKinks(EveryOpNet(3));
  const std::unique_ptr<Program> program = Lowered(graph);
  const Images images(graph, 3, 5);
  const std::vector<float> rates(graph.ops.size(), 0.25f);
  const StepScalars scalars = StillScalars(rates);
  const std::vector<int32_t> indices = FirstIndices(3);
  const ProgramState state = RandomState(graph, 23);
  std::vector<float> gradients(graph.parameter_count);
  auto loss_at = [&](int64_t parameter, float moved) {
    ProgramState other = state;
    other.parameters[parameter] += moved;
    program->WriteState(other);
    return program->TrainStep(images.set, indices, scalars).loss;
  };
  loss_at(0, 0);
  program->ReadGradients(gradients);
  double largest = 0;
  for (float g : gradients) largest = std::max(largest, std::abs(static_cast<double>(g)));
  const float moved = 1.0f / 1024;
  for (const Graph::Slice& slice : graph.slices) {
    for (int64_t parameter : {slice.offset, slice.offset + slice.size / 2}) {
      const double slope = (loss_at(parameter, moved) - loss_at(parameter, -moved)) / (2 * moved);
      EXPECT_NEAR(gradients[parameter], slope, 0.01 * std::abs(slope) + 4e-3 * largest)
          << "parameter " << parameter;
    }
  }
}

TEST(Program, LearnsWhatTheReferenceLearns) {
  // Two kinds of images: bright above, or bright below, in noise.
  GraphMaker maker({1, 6, 6}, 8, 2);
  int x = maker.Relu(maker.BatchNorm(maker.Conv3x3(0, 8)));
  maker.Linear(maker.Pool(x, OpKind::kMaxPool, 2, 2, 2, 2, {}), 2);
  const Graph graph = maker.graph();
  Images images(graph, 64, 5);
  for (int i = 0; i < 64; ++i) {
    for (int p = 0; p < 36; ++p) {
      if ((p < 18) == (images.labels[i] == 0)) images.pixels[36 * i + p] /= 4;
    }
  }
  StepScalars scalars = StillScalars({});
  scalars.learning_rate = 0.05f;
  scalars.momentum = 0.9f;
  std::vector<int64_t> correct;
  const std::unique_ptr<Program> emulated = Lowered(graph);
  const std::unique_ptr<Program> reference = MakeBackend({"reference", 0})->Lower(graph);
  for (Program* program : {emulated.get(), reference.get()}) {
    program->WriteState(RandomState(graph, 1));
    for (scalars.step = 0; scalars.step < 40; ++scalars.step) {
      std::vector<int32_t> batch;
      for (int i = 0; i < 8; ++i) batch.push_back((scalars.step * 8 + i) % 48);
      program->TrainStep(images.set, batch, scalars);
    }
    int64_t right = 0;
    for (int first = 48; first < 64; first += 8) {
      std::vector<int32_t> batch = FirstIndices(8);
      for (int32_t& index : batch) index += first;
      right += program->Evaluate(images.set, batch, {}).correct;
    }
    correct.push_back(right);
  }
  EXPECT_EQ(correct[0], correct[1]);
  EXPECT_GE(correct[0], 15);
}

}  // namespace
}  // namespace trainyard::kernels::testing
