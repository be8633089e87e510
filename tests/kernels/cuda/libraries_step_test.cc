// Whole steps, several in a row, with NVIDIA's libraries where the build has them and with our
// kernels alone, on networks wide enough for the libraries to take part.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/check.h"
#include "kernels/cuda/program.h"
#include "tests/kernels/agreement.h"
#include "tests/kernels/cuda/networks.h"
#include "tests/kernels/cuda/support/timing.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

using cuda::testing::kEmulated;

// On a GPU, wider; the reference takes a second for it.
Graph WideNet() { return kEmulated ? ResidualNet(2, 16) : ResidualNet(8, 64); }

constexpr int kSteps = 3;

struct Trained {
  std::vector<StepResult> results;
  std::vector<float> gradients, logits;  // the last step's; after it
  ProgramState state;
};

// Some steps at once, or one after another.
Trained TrainOn(Program& program, const Graph& graph, bool at_once) {
  const int batch = graph.batch_size;
  const Images images(graph, kSteps * batch, 17);
  const std::vector<float> rates(graph.ops.size(), 0.25f);
  const std::vector<int32_t> indices = FirstIndices(kSteps * batch);
  program.SetNormalisation(std::vector<float>(graph.values[0].channels, 0.45f),
                           std::vector<float>(graph.values[0].channels, 3.5f));
  program.WriteState(RandomState(graph, 23));
  std::vector<StepScalars> scalars(kSteps, LivelyScalars(rates, false));
  for (int i = 0; i < kSteps; ++i) scalars[i].step = i;
  Trained trained;
  trained.results.resize(kSteps);
  if (at_once) {
    program.TrainSteps(images.set, indices, scalars, trained.results);
  } else {
    for (int i = 0; i < kSteps; ++i) {
      trained.results[i] = program.TrainStep(
          images.set, std::span<const int32_t>(indices).subspan(i * batch, batch), scalars[i]);
    }
  }
  trained.gradients.resize(graph.parameter_count);
  trained.logits.resize(int64_t{batch} * graph.classes);
  program.ReadGradients(trained.gradients);
  program.ReadState(trained.state);
  program.Evaluate(images.set, FirstIndices(batch), trained.logits);
  return trained;
}

class WideStep : public ::testing::TestWithParam<std::tuple<bool, Precision>> {
 protected:
  std::unique_ptr<Program> Lowered(const Graph& graph) {
    CheckGraph(graph);
    cuda::ProgramOptions options;
    options.backend = "wide";
    std::tie(options.libraries, options.precision) = GetParam();
    return std::make_unique<cuda::CudaProgram>(graph, options);
  }
  // By relative L2 of what some ten rounded products in a row give (see program_test.cc).
  double tolerance() const {
    const Precision precision = std::get<1>(GetParam());
    return precision == Precision::kFp32 ? 5e-5 : precision == Precision::kTf32 ? 3e-3 : 4e-2;
  }
};

std::string NameOfStep(const ::testing::TestParamInfo<WideStep::ParamType>& info) {
  return std::string(std::get<0>(info.param) ? "libraries_" : "own_") +
         PrecisionName(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Cuda, WideStep,
                         ::testing::Combine(::testing::Bool(),
                                            ::testing::Values(Precision::kFp32, Precision::kTf32,
                                                              Precision::kBf16)),
                         NameOfStep);

TEST_P(WideStep, AgreesWithTheReference) {
  const Graph graph = WithoutKinks(WideNet());
  const Trained found = TrainOn(*Lowered(graph), graph, true);
  const std::unique_ptr<Program> reference = MakeBackend({"reference", 0})->Lower(graph);
  const Trained expected = TrainOn(*reference, graph, false);
  for (int i = 0; i < kSteps; ++i) {
    SCOPED_TRACE("step " + std::to_string(i));
    const double loss = expected.results[i].loss, norm = expected.results[i].gradient_norm;
    EXPECT_NEAR(found.results[i].loss, loss, tolerance() * loss);
    EXPECT_NEAR(found.results[i].gradient_norm, norm, tolerance() * norm);
  }
  ExpectSpansClose(graph, "gradients", found.gradients, expected.gradients, tolerance());
  ExpectSpansClose(graph, "parameters", found.state.parameters, expected.state.parameters,
                   tolerance());
  ExpectClose("logits", found.logits.data(), expected.logits.data(),
              static_cast<int64_t>(found.logits.size()), 0, tolerance());
}

TEST_P(WideStep, TwoRunsAndStepsOneByOneGiveTheSameBytes) {
  const Graph graph = WideNet();
  const Trained first = TrainOn(*Lowered(graph), graph, true);
  for (bool at_once : {true, false}) {
    SCOPED_TRACE(at_once ? "at once" : "one by one");
    const Trained other = TrainOn(*Lowered(graph), graph, at_once);
    for (int i = 0; i < kSteps; ++i) {
      EXPECT_EQ(first.results[i].loss, other.results[i].loss);
      EXPECT_EQ(first.results[i].correct, other.results[i].correct);
    }
    EXPECT_TRUE(SameBytes(first.gradients, other.gradients));
    EXPECT_TRUE(SameBytes(first.state.parameters, other.state.parameters));
    EXPECT_TRUE(SameBytes(first.state.moment1, other.state.moment1));
    EXPECT_TRUE(SameBytes(first.state.statistics, other.state.statistics));
    EXPECT_TRUE(SameBytes(first.logits, other.logits));
  }
}

}  // namespace
}  // namespace trainyard::kernels::testing
