#include "tests/kernels/agreement_suite.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "tests/kernels/agreement.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

// The tested program, then the reference's.
std::vector<std::unique_ptr<Program>> Both(const BackendUnderTest& backend, const Graph& graph) {
  std::vector<std::unique_ptr<Program>> programs;
  programs.push_back(backend.make()->Lower(graph));
  programs.push_back(MakeBackend({"reference", 0})->Lower(graph));
  return programs;
}

}  // namespace

void ExpectAgreementWithReference(const BackendUnderTest& backend, const Graph& graph, int batch,
                                  bool adamw) {
  const std::unique_ptr<Backend> tested = backend.make();
  const std::unique_ptr<Backend> reference = MakeBackend({"reference", 0});
  ExpectAgreement(*tested, *reference, graph, batch, adamw);
}

TEST_P(RandomGraphs, AgreeWithTheReference) {
  const auto& [backend, shard] = GetParam();
  for (int seed = 25 * shard; seed < 25 * (shard + 1); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Graph graph = RandomGraph(seed);
    ExpectAgreementWithReference(backend, graph, graph.batch_size, seed % 2 == 1);
    if (HasFailure()) return;
  }
}

TEST_P(AgreesWithReference, OnPartialBatches) {
  for (int seed = 1000; seed < 1040; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Graph graph = RandomGraph(seed);
    ExpectAgreementWithReference(GetParam(), graph, (graph.batch_size + 1) / 2, false);
    if (HasFailure()) return;
  }
}

TEST_P(AgreesWithReference, OnKerasCnn) {
  ExpectAgreementWithReference(GetParam(), KerasCnn(2), 2, false);
}

TEST_P(AgreesWithReference, BitForBitOnDropoutMasks) {
  GraphMaker maker({5, 31, 33}, 1, 2);
  maker.Linear(maker.Dropout(0), 2, false);
  const Graph graph = maker.graph();
  const std::vector<uint8_t> pixels(graph.values[0].size(), 255);
  const std::vector<int32_t> labels = {0};
  const std::vector<float> rates = {0.3f};
  const auto programs = Both(GetParam(), graph);
  for (int step = 0; step < 3; ++step) {
    StepScalars scalars = StillScalars(rates);
    scalars.seed = 5;
    scalars.step = step;
    std::vector<std::vector<bool>> zeros;
    for (const auto& program : programs) {
      program->WriteState(RandomState(graph, 1));
      zeros.push_back(InputZeros(*program, graph, {pixels, labels, graph.values[0]}, scalars));
    }
    EXPECT_EQ(zeros[0], zeros[1]);
    const double share =
        std::count(zeros[1].begin(), zeros[1].end(), true) / static_cast<double>(zeros[1].size());
    EXPECT_NEAR(share, 0.3, 0.05);
  }
}

TEST_P(AgreesWithReference, OnWhichAugmentedInputsAreZero) {
  GraphMaker maker({3, 9, 8}, 1, 2);
  maker.Linear(0, 2, false);
  const Graph graph = maker.graph();
  const Images images(graph, 1, 3);
  StepScalars scalars = LivelyScalars({}, false);
  scalars.cutout = 4;
  const auto programs = Both(GetParam(), graph);
  for (scalars.step = 0; scalars.step < 20; ++scalars.step) {
    std::vector<std::vector<bool>> zeros;
    for (const auto& program : programs) {
      program->WriteState(RandomState(graph, 1));
      zeros.push_back(InputZeros(*program, graph, images.set, scalars));
    }
    EXPECT_EQ(zeros[0], zeros[1]);
  }
}

}  // namespace trainyard::kernels::testing
