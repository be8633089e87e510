// Tests of SIMD code, once for each instruction set that it is compiled for:
// Simd/<suite>.<name>/avx3 and so on. One that this machine does not have is skipped aloud.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/cpu/simd/target.h"

namespace trainyard::kernels::cpu {

// What there should be, rather than what is found here: what is missed must show.
inline std::vector<std::string> CompiledSimdTargets() {
#if defined(__x86_64__)
  return {"avx3", "avx2", "sse4", "scalar"};
#else
  return SimdTargets();
#endif
}

inline bool SimdTargetRuns(const std::string& target) {
  const std::vector<std::string> targets = SimdTargets();
  return std::find(targets.begin(), targets.end(), target) != targets.end();
}

inline std::string SimdTargetMissing(const std::string& target) {
  return (target == "avx3" ? "AVX-512" : target) + " is not on this machine: not run";
}

// Those that give the same bytes as the best one.
inline std::vector<std::string> TargetsOfTheBestKind() {
  UseSimdTarget("");
  const std::string kind = SimdKind();
  std::vector<std::string> targets;
  for (const std::string& target : SimdTargets()) {
    UseSimdTarget(target);
    if (SimdKind() == kind) targets.push_back(target);
  }
  UseSimdTarget("");
  return targets;
}

// A test of the target that is its parameter.
class SimdTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!SimdTargetRuns(GetParam())) GTEST_SKIP() << SimdTargetMissing(GetParam());
    UseSimdTarget(GetParam());
  }
  void TearDown() override { UseSimdTarget(""); }
};

// Targets with fused multiply-add give the same bytes for the same values, whatever their width.
// `everything` computes all that there is to compare.
template <class F>
void ExpectSameBytesOnAvx3AndAvx2(F everything) {
  for (const char* target : {"avx3", "avx2"}) {
    if (!SimdTargetRuns(target)) GTEST_SKIP() << SimdTargetMissing(target);
  }
  UseSimdTarget("avx3");
  const std::vector<float> wide = everything();
  UseSimdTarget("avx2");
  const std::vector<float> narrow = everything();
  UseSimdTarget("");
  ASSERT_EQ(wide.size(), narrow.size());
  EXPECT_EQ(std::memcmp(wide.data(), narrow.data(), wide.size() * sizeof(float)), 0);
}

inline std::string SimdTestName(const ::testing::TestParamInfo<std::string>& info) {
  return info.param;
}

#define TRAINYARD_FOR_SIMD_TARGETS(suite) \
  INSTANTIATE_TEST_SUITE_P(Simd, suite, ::testing::ValuesIn(CompiledSimdTargets()), SimdTestName)

}  // namespace trainyard::kernels::cpu
