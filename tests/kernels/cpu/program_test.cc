// What a program of the cpu backend needs, refuses and says of itself.
#include "kernels/cpu/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/simd/target.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::cpu {
namespace {

using ::testing::ExitedWithCode;
using ::testing::HasSubstr;
using namespace kernels::testing;  // NOLINT: graphs.h

TEST(CpuProgramTest, MoreThreadsThanCanWorkTakeNoMemory) {
  GraphMaker maker({3, 224, 224}, 2, 5);
  const int x = maker.Relu(maker.Conv3x3(maker.Relu(maker.Conv3x3(0, 64)), 64));
  maker.Linear(maker.GlobalAvgPool(x), 5);
  const int64_t two = CpuProgram(maker.graph(), 2).MemoryBytes();
  EXPECT_GT(two, CpuProgram(maker.graph(), 1).MemoryBytes());
  EXPECT_EQ(CpuProgram(maker.graph(), 128).MemoryBytes(), two);
}

TEST(CpuProgramTest, LogitsThatAreNotFlatAreRefused) {
  GraphMaker maker({3, 8, 8}, 2, 8);
  maker.Relu(maker.Conv(0, 2, 3, 3, 4, 4, {}, 1, true));
  ASSERT_EQ(maker.graph().values.back().size(), 8);
  try {
    CpuProgram(maker.graph(), 1);
    FAIL() << "found no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("(relu): found logits of 2x2x2, expected 8x1x1"));
  }
}

TEST(CpuProgramTest, ProfileHasTheOptimizersTimeSinceItWasSwitchedOn) {
  const Graph graph = KerasCnn(4);
  const Images images(graph, 4, 1);
  CpuProgram program(graph, 1);
  program.WriteState(RandomState(graph, 1));
  const std::vector<float> rates(2, 0.0f);
  const auto optimizer_s = [&] {
    for (const StepTime& step : program.Profile()) {
      if (step.name == "optimizer") return step.seconds;
    }
    return -1.0;
  };
  const auto step = [&] { program.TrainStep(images.set, FirstIndices(4), StillScalars(rates)); };
  step();
  EXPECT_EQ(optimizer_s(), 0);
  program.SetProfiling(true);
  step();
  EXPECT_GT(optimizer_s(), 0);
}

TEST(CpuProgramTest, FingerprintNamesKindAndArithmetic) {
  const Graph graph = KerasCnn(4);
  EXPECT_THAT(CpuProgram(graph, 1).Fingerprint(),
              ::testing::StartsWith("cpu " + SimdKind() +
                                    " arithmetic=" + std::to_string(kArithmetic) + " plan="));
}

// In a process of its own, as it is heard only once. Says what came of it.
[[noreturn]] void MakeBackends(const std::vector<const char*>& variables) {
  try {
    for (const char* variable : variables) {
      setenv("TRAINYARD_SIMD", variable, 1);
      MakeBackend({"cpu", 1});
    }
    std::fprintf(stderr, "runs with %s.", SimdTarget().c_str());
  } catch (const Unavailable& error) {
    std::fprintf(stderr, "%s", error.what());
  }
  std::_Exit(0);
}

class CpuSimdVariableDeathTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  const std::string best_ = SimdTargets().front();
};

TEST_F(CpuSimdVariableDeathTest, NamesATargetInAnyCase) {
  EXPECT_EXIT(MakeBackends({"Scalar"}), ExitedWithCode(0), "runs with scalar\\.");
  EXPECT_EXIT(MakeBackends({""}), ExitedWithCode(0), "runs with " + best_ + "\\.");
}

TEST_F(CpuSimdVariableDeathTest, IsHeardOnceAProcess) {
  EXPECT_EXIT(MakeBackends({"scalar", best_.c_str()}), ExitedWithCode(0), "runs with scalar\\.");
}

TEST_F(CpuSimdVariableDeathTest, ThatNamesNoneIsUnavailableUntilItDoes) {
  EXPECT_EXIT(MakeBackends({"mmx"}), ExitedWithCode(0),
              "TRAINYARD_SIMD: found 'mmx', expected one of .*scalar");
}

}  // namespace
}  // namespace trainyard::kernels::cpu
