// The cpu backend computes what the reference computes, and does it the same way every time.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/program.h"
#include "kernels/cpu/simd/staging.h"
#include "kernels/cpu/simd/target.h"
#include "tests/kernels/agreement.h"
#include "tests/kernels/agreement_suite.h"
#include "tests/kernels/cpu/conv_ways.h"
#include "tests/kernels/cpu/simd_targets.h"
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

TEST(Cpu, DropoutMatchesTheReferenceForEveryPlane) {
  // Planes of 1 to 1225 pixels and odd channels: every way in which a mask is dealt out to lanes.
  for (int side : {1, 2, 3, 5, 8, 16, 31, 35}) {
    for (int channels : {3, 16, 21}) {
      GraphMaker maker({3, side, side}, 3, 4);
      maker.Linear(maker.Dropout(maker.Conv3x3(0, channels)), 4);
      ExpectAgreementWithReference(kCpu, maker.graph(), 3, false);
    }
  }
}

TEST(Cpu, LayersOfManyWeightsAgreeWithTheReference) {
  GraphMaker maker({32, 6, 6}, 6, 3);
  int x = maker.Relu(maker.BatchNorm(maker.Conv(0, 512, 1, 1, 1, 1, {}, 1, false)));
  x = maker.Relu(maker.Conv(x, 128, 3, 3, 1, 1, {1, 1, 1, 1}, 1, true));
  maker.Linear(maker.GlobalAvgPool(x), 3);
  ExpectAgreementWithReference(kCpu, maker.graph(), 6, false);
}

// Blocks whose shortcuts read every so many-th pixel: a gradient of some pixels meets a
// convolution's, another of its kind, a pool's, an addition's, or is alone.
TEST(Cpu, OneByOneConvolutionsWithStrideAgreeWithTheReference) {
  const auto strided = [](GraphMaker& net, int x, int filters, int stride_h, int stride_w) {
    return net.BatchNorm(net.Conv(x, filters, 1, 1, stride_h, stride_w, {}, 1, false));
  };
  for (int kind = 0; kind < 6; ++kind) {
    for (bool relu : {true, false}) {
      SCOPED_TRACE(::testing::Message() << "kind " << kind << (relu ? ", ReLU" : ""));
      GraphMaker net({3, 13, 11}, 6, 4);
      int x = net.Relu(net.BatchNorm(net.Conv3x3(0, 18)));
      if (relu || kind == 5) x = net.Add(net.BatchNorm(net.Conv3x3(x, 18)), x);
      if (relu) x = net.Relu(x);
      const int body = net.Relu(net.BatchNorm(net.Conv(x, 20, 3, 3, 2, 2, {1, 1, 1, 1}, 1, false)));
      const int shortcut = strided(net, x, 20, 2, 2);
      int y = net.Relu(net.Add(net.BatchNorm(net.Conv3x3(body, 20)), shortcut));
      if (kind == 1) y = net.Add(y, strided(net, x, 20, 2, 2));
      if (kind == 2)
        y = net.Add(y, net.Conv(net.Pool(x, OpKind::kMaxPool, 1, 1, 2, 2, {}), 20, 1, 1, 1, 1, {},
                                1, true));
      if (kind == 3) y = net.Conv(strided(net, y, 24, 3, 2), 16, 1, 1, 2, 1, {}, 1, true);
      if (kind == 4) y = net.Relu(strided(net, net.Relu(strided(net, y, 40, 1, 2)), 8, 2, 1));
      if (kind == 5) y = net.Add(y, net.Conv(x, 20, 1, 1, 2, 2, {}, 2, true));
      net.Linear(net.GlobalAvgPool(y), 4);
      ExpectAgreementWithReference(kCpu, net.graph(), 6, false);
    }
  }
}

// A gradient may be brought to its end, or be one with another value's, only where nobody is still
// to add to it.
TEST(Cpu, GradientsEndWithTheirLastGiver) {
  std::vector<Graph> graphs;
  const auto two_branches = [&](const auto& make) {
    GraphMaker net({3, 9, 9}, 4, 3);
    const auto [a, b] = make(net);
    net.Linear(net.GlobalAvgPool(net.Add(a, b)), 3);
    graphs.push_back(net.graph());
  };
  two_branches([](GraphMaker& net) {  // two read an addition
    const int x = net.Relu(net.Add(net.Conv3x3(0, 16), net.Conv3x3(0, 16)), 0.25f);
    const int first = net.Conv3x3(x, 16);
    return std::pair(first, net.Conv3x3(x, 16));
  });
  two_branches([](GraphMaker& net) {  // somebody else reads one of its terms
    const int term = net.BatchNorm(net.Conv3x3(0, 16));
    const int x = net.Add(term, net.Conv3x3(0, 16));
    const int first = net.Conv3x3(term, 16);
    return std::pair(first, net.Conv3x3(x, 16));
  });
  two_branches([](GraphMaker& net) {  // one reads an addition, whose terms' makers come first
    const int x = net.Relu(net.Add(net.BatchNorm(net.Conv3x3(0, 16)), net.Conv3x3(0, 16)), 0.25f);
    return std::pair(x, net.Conv3x3(x, 16));
  });
  two_branches([](GraphMaker& net) {  // a term is read after the other one's maker
    const int c = net.Conv3x3(0, 16), term = net.Conv3x3(0, 16);
    const int other = net.Conv3x3(c, 16), reader = net.Conv3x3(term, 16);
    return std::pair(net.Add(other, term), reader);
  });
  for (size_t i = 0; i < graphs.size(); ++i) {
    SCOPED_TRACE(::testing::Message() << "graph " << i);
    ExpectAgreementWithReference(kCpu, graphs[i], 4, false);
  }
}

// So large that they are streamed past the caches. Without ReLU: among millions of values some are
// so near to 0 that rounding decides.
TEST(Cpu, LargeActivationsAgreeWithTheReference) {
  GraphMaker net({1, 48, 48}, 64, 3);
  ASSERT_TRUE(cpu::LeavesCaches(int64_t{64} * 48 * 48 * 16 * 4));
  const int x = net.BatchNorm(net.Conv3x3(0, 16));
  const int y = net.Add(net.BatchNorm(net.Conv(x, 16, 1, 1, 1, 1, {}, 1, false)), x);
  const int z = net.Conv(y, 16, 1, 1, 1, 1, {}, 1, true);
  net.Linear(net.Pool(z, OpKind::kAvgPool, 12, 12, 12, 12, {}), 3);
  ExpectAgreementWithReference(kCpu, net.graph(), 64, false);
}

std::vector<float> CpuTrajectory(const Graph& graph, int threads, int steps, bool poison = false) {
  const std::unique_ptr<Program> program = MakeBackend({"cpu", threads})->Lower(graph);
  return Trajectory(*program, graph, steps, [&](int) {
    if (poison) static_cast<cpu::CpuProgram&>(*program).PoisonScratch();
  });
}

// All ways that a convolution may be computed in.
const std::set<std::string> kConvWays = {"first",    "winograd 4x4", "winograd 4x4 batch",
                                         "direct",   "direct 1x1",   "direct groups",
                                         "depthwise"};

// Wide enough for every kind of work to be spread over threads, in every way of convolving.
Graph Wide(int batch) {
  GraphMaker net({3, 24, 24}, batch, 7);
  int x = net.Relu(net.BatchNorm(net.Conv3x3(0, 32)));
  x = net.Relu(net.BatchNorm(net.Conv(x, 48, 3, 3, 2, 2, {1, 1, 1, 1}, 1, false)));
  const int body = net.BatchNorm(net.Conv3x3(net.Relu(net.Conv3x3(x, 48)), 48));
  x = net.Relu(net.Add(body, x));
  x = net.Relu(net.BatchNorm(net.Conv(x, 48, 3, 3, 1, 1, {1, 1, 1, 1}, 48, false)));
  x = net.Relu(net.Conv(x, 64, 1, 1, 1, 1, {}, 1, true));
  x = net.Relu(net.Conv(x, 64, 3, 3, 1, 1, {1, 1, 1, 1}, 4, true));
  x = net.Dropout(net.Pool(x, OpKind::kMaxPool, 3, 3, 3, 3, {}));
  x = net.Relu(net.Conv(x, 256, 1, 1, 1, 1, {}, 1, true));
  x = net.Relu(net.BatchNorm(net.Conv3x3(x, 256)));
  x = net.GlobalAvgPool(x);
  x = net.Dropout(net.Relu(net.Linear(x, 200)));
  net.Linear(x, 7);
  return net.graph();
}

TEST(Cpu, AnyNumberOfThreadsGivesTheSameBytes) {
  std::vector<Graph> graphs = {KerasCnn(32), Wide(40)};
  for (int seed = 2000; seed < 2010; ++seed) graphs.push_back(RandomGraph(seed));
  for (const Graph& graph : graphs) {
    const std::vector<float> expected = CpuTrajectory(graph, 1, 4);
    for (int threads : {1, 2, 3, 4, 8}) {
      EXPECT_TRUE(SameBytes(CpuTrajectory(graph, threads, 4), expected)) << threads << " threads\n"
                                                                         << Describe(graph);
    }
  }
}

TEST(Cpu, TheWideNetworkGoesThroughEveryWayOfConvolving) {
  const Graph graph = Wide(2);
  std::set<std::string> ways;
  for (const auto& [op, way] : ConvWays(graph, *MakeBackend({"cpu", 1})->Lower(graph))) {
    ways.insert(way);
  }
  EXPECT_EQ(ways, kConvWays);
}

TEST(Cpu, VectorsOfAnyWidthGiveTheSameBytesWhereMultiplyAddsAreFused) {
  if (std::getenv("TRAINYARD_SIMD") != nullptr) {
    GTEST_SKIP() << "TRAINYARD_SIMD has chosen a target for all backends: not run";
  }
  for (const char* target : {"avx3", "avx2"}) {
    if (!cpu::SimdTargetRuns(target)) GTEST_SKIP() << cpu::SimdTargetMissing(target);
  }
  std::vector<Graph> graphs = {KerasCnn(16), Wide(16)};
  for (int seed = 5000; seed < 5020; ++seed) graphs.push_back(RandomGraph(seed));
  for (const Graph& graph : graphs) {
    cpu::UseSimdTarget("avx3");
    const std::vector<float> wide = CpuTrajectory(graph, 2, 4);
    cpu::UseSimdTarget("avx2");
    const std::vector<float> narrow = CpuTrajectory(graph, 2, 4);
    cpu::UseSimdTarget("");
    EXPECT_TRUE(SameBytes(wide, narrow)) << Describe(graph);
  }
}

// 3x3, dense and of stride 1, not of the network's input, and a quarter of its 4x4 tiles' pixels is
// the output's.
bool FitsWinograd(const Graph& graph, const Op& op) {
  const ValueShape& out = graph.values[op.output];
  const int64_t tiles = int64_t{(out.height + 3) / 4} * ((out.width + 3) / 4);
  return op.kernel_h == 3 && op.kernel_w == 3 && op.stride_h == 1 && op.stride_w == 1 &&
         op.groups == 1 && op.inputs[0] != 0 && 4 * out.height * out.width >= 16 * tiles;
}

TEST(Cpu, EveryConvolutionIsComputedByOurOwnCodeAndByWinogradWhereItFits) {
  std::vector<Graph> graphs = {KerasCnn(16), Wide(16)};
  for (int seed = 4000; seed < 4100; ++seed) graphs.push_back(RandomGraph(seed));
  int convolutions = 0, fit = 0;
  for (const Graph& graph : graphs) {
    SCOPED_TRACE(Describe(graph));
    for (const auto& [i, way] : ConvWays(graph, *MakeBackend({"cpu", 2})->Lower(graph))) {
      const Op& op = graph.ops[i];
      ++convolutions;
      EXPECT_TRUE(kConvWays.contains(way)) << op.name << ": " << way;
      if (!FitsWinograd(graph, op)) continue;
      ++fit;
      EXPECT_TRUE(way.starts_with("winograd")) << op.name << ": " << way;
    }
  }
  EXPECT_GT(convolutions, 100);
  EXPECT_GT(fit, 20);
}

TEST(Cpu, SaysHowEachConvolutionIsComputedAndWhatIsDoneOnTheWay) {
  const std::vector<std::string> lines = MakeBackend({"cpu", 1})->Lower(KerasCnn(16))->Explain();
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0], "layers.0 (conv) 1x28x28 -> 32x26x26: first, layers.1 (relu) on the way");
  EXPECT_EQ(lines[1],
            "layers.2 (conv) 32x26x26 -> 64x12x12: winograd 4x4, layers.3 (relu) on the way, "
            "layers.4 (max_pool) on the way, layers.5 (dropout) on the way");
  EXPECT_EQ(lines[2], "layers.6 (linear) 64x12x12 -> 128x1x1: product, layers.7 (relu) on the way");
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

// State after three epochs of flips, shifts and cutouts whose last batch is smaller, with an
// evaluation of other images after each third step.
std::vector<float> TrainedState(const Graph& graph, bool expect, cpu::BatchLoader::Waits* waits) {
  const Images images(graph, 3 * graph.batch_size + 5, 1), others(graph, graph.batch_size, 2);
  const std::unique_ptr<Program> program = MakeBackend({"cpu", 2})->Lower(graph);
  program->SetNormalisation(std::vector<float>(graph.values[0].channels, 0.4f),
                            std::vector<float>(graph.values[0].channels, 3.0f));
  program->WriteState(RandomState(graph, 3));
  std::vector<int32_t> order = FirstIndices(static_cast<int>(images.set.count()));
  const std::vector<float> rates = {0.25f, 0.5f};
  StepScalars scalars = StillScalars(rates);
  scalars.learning_rate = 0.01f, scalars.momentum = 0.9f;
  scalars.flip = true, scalars.shift = 2, scalars.cutout = 5;
  for (int epoch = 0; epoch < 3; ++epoch) {
    std::shuffle(order.begin(), order.end(), std::mt19937(epoch));
    if (expect) program->Expect(images.set, order);
    for (size_t at = 0; at < order.size(); at += graph.batch_size) {
      const size_t size = std::min<size_t>(graph.batch_size, order.size() - at);
      program->TrainStep(images.set, std::span(order).subspan(at, size), scalars);
      if (++scalars.step % 3 == 0) {
        program->Evaluate(others.set, FirstIndices(graph.batch_size), {});
      }
    }
  }
  *waits = static_cast<cpu::CpuProgram&>(*program).waits();
  ProgramState state;
  program->ReadState(state);
  return state.parameters;
}

TEST(Cpu, BatchesThatAreMadeAheadGiveTheSameBytes) {
  cpu::BatchLoader::Waits expected, not_expected;
  EXPECT_TRUE(SameBytes(TrainedState(KerasCnn(16), true, &expected),
                        TrainedState(KerasCnn(16), false, &not_expected)));
  EXPECT_EQ(expected.ahead, 3 * 3) << "all of an epoch but the first";
  EXPECT_EQ(not_expected.ahead, 0);
  EXPECT_EQ(expected.taken, not_expected.taken);
}

}  // namespace
}  // namespace trainyard::kernels::testing
