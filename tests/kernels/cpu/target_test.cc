#include "kernels/cpu/simd/target.h"

#include <gtest/gtest.h>

#include <cctype>
#include <map>
#include <string>
#include <thread>

#include "kernels/backend.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu {
namespace {

using SimdTargetTest = SimdTest;
TRAINYARD_FOR_SIMD_TARGETS(SimdTargetTest);

TEST_P(SimdTargetTest, RunsInAllThreadsOnceChosen) {
  EXPECT_EQ(SimdTarget(), GetParam());
  std::string elsewhere;
  std::thread([&] { elsewhere = SimdTarget(); }).join();
  EXPECT_EQ(elsewhere, GetParam());
}

TEST_P(SimdTargetTest, StaysChosenWhenAskedWhatThereIs) {
  EXPECT_EQ(SimdTargets().back(), CompiledSimdTargets().back());
  EXPECT_EQ(SimdTarget(), GetParam());
}

TEST_P(SimdTargetTest, StaysChosenWhereAnUnknownOneIsRefused) {
  std::string known;
  for (const std::string& target : SimdTargets()) known += (known.empty() ? "" : ", ") + target;
  try {
    UseSimdTarget("mmx");
    FAIL() << "found no error";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()), "found SIMD target 'mmx', expected one of " + known);
  }
  EXPECT_EQ(SimdTarget(), GetParam());
}

TEST_P(SimdTargetTest, IsChosenByItsNameInAnyCase) {
  std::string name = GetParam();
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  UseSimdTarget("");
  UseSimdTarget(name);
  EXPECT_EQ(SimdTarget(), GetParam());
}

TEST_P(SimdTargetTest, IsOfTheKindOfAllThatFuseIfItDoes) {
  const std::map<std::string, std::string> kinds = {
      {"avx3", "x86-fma"}, {"avx2", "x86-fma"}, {"neon", "arm-fma"}};
  const auto kind = kinds.find(GetParam());
  EXPECT_EQ(SimdKind(), kind == kinds.end() ? GetParam() : kind->second);
}

TEST_P(SimdTargetTest, NoNameIsTheBest) {
  UseSimdTarget("");
  EXPECT_EQ(SimdTarget(), SimdTargets().front());
}

}  // namespace
}  // namespace trainyard::kernels::cpu
