// The cpu backend computes what the reference computes, and does it the same way every time.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/program.h"
#include "tests/kernels/agreement.h"
#include "tests/kernels/agreement_suite.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

const BackendUnderTest kCpu = {"cpu", [] { return MakeBackend({"cpu", 2}); }};

INSTANTIATE_TEST_SUITE_P(Cpu, AgreesWithReference, ::testing::Values(kCpu), NameOf);
INSTANTIATE_TEST_SUITE_P(Seeds, RandomGraphs,
                         ::testing::Combine(::testing::Values(kCpu), ::testing::Range(0, kShards)),
                         ShardOf);

TEST(Cpu, FirstLayersOfOneToFourChannelsAgreeWithTheReference) {
  for (int channels = 1; channels <= 4; ++channels) {
    for (int kernel : {1, 3, 5, 7}) {
      GraphMaker maker({channels, 13, 11}, 5, 3);
      const int x = maker.Conv(0, 24, kernel, kernel, 2, 1, {kernel / 2, 0, kernel / 3, kernel / 2},
                               1, kernel != 5);
      maker.Linear(maker.GlobalAvgPool(maker.Relu(x)), 3);
      ExpectAgreementWithReference(kCpu, maker.graph(), 5, false);
    }
  }
}

TEST(Cpu, DropoutOfBlockedActivationsMatchesTheReferenceForEveryPlane) {
  // Planes of 1 to 1225 pixels and odd channels: every way in which a mask is dealt out to lanes.
  for (int side : {1, 2, 3, 5, 8, 16, 31, 35}) {
    for (int channels : {3, 16, 21}) {
      GraphMaker maker({3, side, side}, 3, 4);
      maker.Linear(maker.Dropout(maker.Conv3x3(0, channels)), 4);
      ExpectAgreementWithReference(kCpu, maker.graph(), 3, false);
    }
  }
}

std::vector<float> CpuTrajectory(const Graph& graph, int threads, int steps, bool poison = false) {
  const std::unique_ptr<Program> program = MakeBackend({"cpu", threads})->Lower(graph);
  return Trajectory(*program, graph, steps, [&](int) {
    if (poison) static_cast<cpu::CpuProgram&>(*program).PoisonScratch();
  });
}

TEST(Cpu, TwoRunsGiveTheSameBytes) {
  EXPECT_TRUE(SameBytes(CpuTrajectory(KerasCnn(32), 2, 6), CpuTrajectory(KerasCnn(32), 2, 6)));
  for (int seed = 2000; seed < 2010; ++seed) {
    const Graph graph = RandomGraph(seed);
    for (int threads : {1, 2, 3}) {
      EXPECT_TRUE(SameBytes(CpuTrajectory(graph, threads, 4), CpuTrajectory(graph, threads, 4)))
          << "seed " << seed << " threads " << threads;
    }
  }
}

TEST(Cpu, StepsReadNothingThatTheyHaveNotWritten) {
  EXPECT_TRUE(
      SameBytes(CpuTrajectory(KerasCnn(16), 2, 4), CpuTrajectory(KerasCnn(16), 2, 4, true)));
  for (int seed = 3000; seed < 3060; ++seed) {
    const Graph graph = RandomGraph(seed);
    EXPECT_TRUE(SameBytes(CpuTrajectory(graph, 2, 4), CpuTrajectory(graph, 2, 4, true)))
        << "seed " << seed << "\n"
        << Describe(graph);
  }
}

}  // namespace
}  // namespace trainyard::kernels::testing
