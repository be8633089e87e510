// Training steps and evaluations of networks with every op, small enough for sanitizers.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/backend.h"
#include "tests/kernels/agreement.h"
#include "tests/kernels/cuda/networks.h"
#include "tests/kernels/cuda/support/kernel_case.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

using cuda::MakeCudaBackend;
using cuda::testing::kSmallShapes;

void ExpectAgreementWithReference(const Graph& graph) {
  const std::unique_ptr<Backend> backend =
      MakeCudaBackend({.precision = Precision::kFp32, .libraries = false});
  const std::unique_ptr<Backend> reference = MakeBackend({"reference", 0});
  ExpectAgreement(*backend, *reference, graph, graph.batch_size, true);
}

TEST(WholeStep, AgreesWithTheReference) {
  ExpectAgreementWithReference(EveryOpNet(kSmallShapes ? 1 : 3));
  ExpectAgreementWithReference(kSmallShapes ? SeparableNet(1, 4) : SeparableNet(3, 8));
  ExpectAgreementWithReference(kSmallShapes ? ResidualNet(1, 4) : ResidualNet(3, 8));
}

TEST(WholeStep, OfRandomGraphsAgreesWithTheReference) {
  if (kSmallShapes) GTEST_SKIP() << "too large for the race detector";
  for (int seed = 5000; seed < 5020; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ExpectAgreementWithReference(RandomGraph(seed));
  }
}

TEST(WholeStep, OnTensorCoresGivesFiniteGradients) {
  for (const Graph& graph : {EveryOpNet(1), kSmallShapes ? ResidualNet(1, 4) : ResidualNet(3, 8)}) {
    const Images images(graph, graph.batch_size, 5);
    const std::vector<float> rates(graph.ops.size(), 0.25f);
    for (Precision precision : {Precision::kTf32, Precision::kBf16}) {
      const std::unique_ptr<Program> program =
          MakeCudaBackend({.precision = precision, .libraries = false})->Lower(graph);
      program->WriteState(RandomState(graph, 3));
      const StepResult result = program->TrainStep(images.set, FirstIndices(graph.batch_size),
                                                   LivelyScalars(rates, false));
      EXPECT_TRUE(std::isfinite(result.loss));
      EXPECT_TRUE(std::isfinite(result.gradient_norm));
    }
  }
}

}  // namespace
}  // namespace trainyard::kernels::testing
