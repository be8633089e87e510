// What all ways of convolving promise, on each SIMD target: to be the convolution, as plain loops
// in double precision compute it, and the same bytes however the batch is cut and spread over
// threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/cpu/batch_core.h"
#include "kernels/cpu/conv_core.h"
#include "kernels/cpu/parallel.h"
#include "tests/kernels/cpu/conv_case.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu::testing {
namespace {

struct Way {
  std::string name;
  std::function<ConvCase(std::mt19937&)> draw;
  // In random packs, or image by image where there is no `random`.
  std::function<ConvResults<float>(const ConvSample&, std::mt19937* random)> compute;
  double tolerance = kTolerance;
  bool wants_dx = true;
};

void PrintTo(const Way& way, std::ostream* to) { *to << way.name; }

std::vector<int> Packs(const ConvSample& sample, int largest, std::mt19937* random) {
  const int images = sample.geometry().batch;
  return random == nullptr ? std::vector<int>(images, 1) : RandomPacks(images, largest, *random);
}

// By a core that computes a few images a call.
auto ByCore(std::unique_ptr<ConvCore> (*make)(const ConvGeometry&), bool wants_dx = true) {
  return [=](const ConvSample& sample, std::mt19937* random) {
    const std::unique_ptr<ConvCore> core = make(sample.geometry());
    ConvResults<float> results =
        Computed(sample, *core, Packs(sample, core->pack(), random), wants_dx);
    if (!wants_dx) results.dx.clear();
    return results;
  };
}

ConvResults<float> InChunks(const ConvSample& sample, std::mt19937* random) {
  const std::unique_ptr<BatchCore> core = MakeWinogradBatchCore(sample.geometry());
  return Computed(sample, *core, Packs(sample, core->chunk(), random));
}

auto Within(const ConvLimits& limits) {
  return [=](std::mt19937& random) { return RandomConvCase(limits, random); };
}

ConvCase RandomGroups(std::mt19937& random) {
  const int groups = std::uniform_int_distribution<int>(2, 9)(random);
  ConvCase conv = RandomConvCase({.channels = 48, .filters = 48, .groups = groups}, random);
  if (conv.in.channels == groups) conv.filters = 2 * groups;  // else it is depthwise
  return conv;
}

ConvCase RandomDepthwise(std::mt19937& random) {
  ConvCase conv = RandomConvCase({.size = 20}, random);
  conv.op.groups = conv.in.channels = conv.filters = std::max(2, conv.filters);
  return conv;
}

std::vector<Way> Ways() {
  const ConvLimits first{.channels = 4, .size = 20, .plain_input = true};
  const ConvLimits winograd{
      .channels = 50, .filters = 50, .size = 14, .images = 5, .winograd = true};
  return {{"First", Within(first), ByCore(MakeFirstCore, false), kTolerance, false},
          {"Winograd", Within(winograd), ByCore(MakeWinogradCore), kWinogradTolerance},
          {"WinogradBatch", Within(winograd), InChunks, kWinogradTolerance},
          {"Direct", Within({}), ByCore(MakeDirectCore)},
          {"Groups", RandomGroups, ByCore(MakeDirectCore)},
          {"Depthwise", RandomDepthwise, ByCore(MakeDepthwiseCore)}};
}

class EveryCore : public ::testing::TestWithParam<std::tuple<Way, std::string>> {
 protected:
  void SetUp() override {
    if (!SimdTargetRuns(target())) GTEST_SKIP() << SimdTargetMissing(target());
    UseSimdTarget(target());
  }
  void TearDown() override { UseSimdTarget(""); }

  const Way& way() const { return std::get<0>(GetParam()); }
  const std::string& target() const { return std::get<1>(GetParam()); }
};

TEST_P(EveryCore, IsTheConvolutionOnRandomShapes) {
  const ThreadScope threads(1);
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(::testing::Message() << "round " << round);
    const ConvSample sample(way().draw(random), random());
    ExpectClose(way().compute(sample, &random), Expected(sample), way().wants_dx, way().tolerance);
  }
}

TEST_P(EveryCore, BytesDependNeitherOnPacksNorOnThreads) {
  std::mt19937 random(2);
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(::testing::Message() << "round " << round);
    ConvCase conv = way().draw(random);
    conv.images = round % 2 == 0 ? 7 : 32;
    const ConvSample sample(conv, random());
    const auto computed = [&](int count, std::mt19937* packs) {
      const ThreadScope threads(count);
      return way().compute(sample, packs);
    };
    ExpectSameBytes(computed(2 + round % 4, &random), computed(1, nullptr));
  }
}

INSTANTIATE_TEST_SUITE_P(Simd, EveryCore,
                         ::testing::Combine(::testing::ValuesIn(Ways()),
                                            ::testing::ValuesIn(CompiledSimdTargets())),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + "_" + std::get<1>(info.param);
                         });

TEST(EveryCoreSameBytes, AreTheSameWithAvx3AndAvx2) {
  ExpectSameBytesOnAvx3AndAvx2([] {
    const ThreadScope threads(1);
    std::mt19937 random(3);
    std::vector<float> all;
    for (const Way& way : Ways()) {
      for (int round = 0; round < 15; ++round) {
        const ConvSample sample(way.draw(random), random());
        const ConvResults<float> results = way.compute(sample, nullptr);
        for (const auto* values : {&results.y, &results.dx, &results.dw}) {
          all.insert(all.end(), values->begin(), values->end());
        }
      }
    }
    return all;
  });
}

}  // namespace
}  // namespace trainyard::kernels::cpu::testing
