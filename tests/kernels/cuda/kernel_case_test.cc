// What Problem() finds in kernels: nothing in a right one, and in others what is wrong. A copy
// writes here what a kernel would.
#include "tests/kernels/cuda/support/kernel_case.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/kernels/cuda/support/schedules.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kCount = 100000, kAt = 777;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// A "kernel" whose run number `run` (from 0; one in each schedule) writes `values(run)`, from the
// first on.
template <typename T>
KernelCase Writing(std::vector<double> expected, double tolerance,
                   std::function<std::vector<T>(int run)> values) {
  const auto out = Allocate<T>(static_cast<int64_t>(expected.size()));
  std::vector<Shared<T>> writes;
  for (int run = 0; run < kScheduleCount; ++run) writes.push_back(Upload(values(run)));
  KernelCase kernel;
  kernel.name = "Writing";
  kernel.launch = [=, run = 0](cudaStream_t stream) mutable {
    const Shared<T>& written = writes[std::min(run++, kScheduleCount - 1)];
    CheckCuda(cudaMemcpyAsync(out->data(), written->data(), written->count() * sizeof(T),
                              cudaMemcpyDeviceToDevice, stream),
              "cudaMemcpy");
  };
  kernel.Expect("out", out, std::move(expected), tolerance);
  return kernel;
}

template <typename T>
KernelCase Writing(std::vector<double> expected, double tolerance, std::vector<T> values) {
  return Writing<T>(std::move(expected), tolerance, [values](int) { return values; });
}

template <typename T>
class KernelCaseOf : public ::testing::Test {
 protected:
  const std::vector<T> right_ = Round<T>(Draw(1).Normal(kCount));
  const std::vector<double> expected_ = Widen(right_);
};
using Types = ::testing::Types<float, bf16>;
TYPED_TEST_SUITE(KernelCaseOf, Types);

TYPED_TEST(KernelCaseOf, ARightOneHasNoProblem) {
  for (const double tolerance : {0.0, kTolerance<TypeParam>}) {
    const KernelCase kernel = Writing(this->expected_, tolerance, this->right_);
    EXPECT_EQ(Problem(kernel), "");
    EXPECT_EQ(Error(kernel), 0);
  }
}

// Too small a mistake for the L2: as large as the values are, in one of many.
TYPED_TEST(KernelCaseOf, OneWrongElementIsNamed) {
  auto wrong = this->right_;
  wrong[kAt] = FromFloat<TypeParam>(ToFloat(wrong[kAt]) + 1);
  const std::string element = "at 777: found " + std::to_string(ToFloat(wrong[kAt])).substr(0, 4);
  const KernelCase within = Writing(this->expected_, kToleranceBf16, wrong);
  EXPECT_LT(Error(within), kToleranceBf16);
  EXPECT_THAT(Problem(within), HasSubstr("Writing, schedule 0: out: error 0.003"));
  EXPECT_THAT(Problem(within), HasSubstr("expected at most 0.05, " + element));
  EXPECT_THAT(Problem(Writing(this->expected_, 0, wrong)), HasSubstr("out " + element));
}

TYPED_TEST(KernelCaseOf, WhatIsWrongEverywhereByLittleIsAProblem) {
  auto wrong = this->right_;
  for (TypeParam& value : wrong) {
    value = FromFloat<TypeParam>(ToFloat(value) * (1 + 2 * float{kTolerance<TypeParam>}));
  }
  EXPECT_THAT(
      Problem(Writing(this->expected_, kTolerance<TypeParam>, wrong)),
      HasSubstr(sizeof(TypeParam) == 4 ? "expected at most 1e-05" : "expected at most 0.01"));
}

TYPED_TEST(KernelCaseOf, AnElementThatIsNotWrittenIsNaN) {
  auto short_of_one = this->right_;
  short_of_one.pop_back();
  for (const double tolerance : {0.0, kTolerance<TypeParam>}) {
    const KernelCase kernel = Writing(this->expected_, tolerance, short_of_one);
    EXPECT_THAT(Problem(kernel), ::testing::ContainsRegex("at 99999: found -?nan, expected"));
    EXPECT_TRUE(std::isnan(Error(kernel)));
  }
}

TEST(KernelCase, WhatOneScheduleWroteIsNotThereInTheNext) {
  const KernelCase kernel = Writing<float>({1, 2}, kToleranceFp32, [](int run) {
    return run == 2 ? std::vector<float>{1} : std::vector<float>{1, 2};
  });
  EXPECT_THAT(Problem(kernel), HasSubstr("Writing, schedule 2: out: error "));
}

TYPED_TEST(KernelCaseOf, OtherBitsInAnotherScheduleAreAProblem) {
  for (int other = 1; other < kScheduleCount; ++other) {
    const KernelCase kernel = Writing<TypeParam>(
        this->expected_, kTolerance<TypeParam>, [right = this->right_, other](int run) {
          auto values = right;
          if (run == other) {
            char* last_byte = reinterpret_cast<char*>(&values[kAt]);
            *last_byte = static_cast<char>(*last_byte ^ 1);
          }
          return values;
        });
    EXPECT_EQ(Problem(kernel), "Writing, schedule " + std::to_string(other) +
                                   ": out has other bits than in schedule 0");
  }
}

TEST(KernelCase, ZerosOfOtherSignsAreOtherBits) {
  const KernelCase kernel = Writing<float>(
      {0}, kToleranceFp32, [](int run) { return std::vector<float>{run == 2 ? -0.0f : 0.0f}; });
  EXPECT_EQ(Problem(kernel), "Writing, schedule 2: out has other bits than in schedule 0");
}

TEST(KernelCase, WhatIsNotFiniteIsExpectedWhereItIs) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<double> expected = {1, kNaN, kInfinity, 2};
  const auto problem = [&](const std::vector<float>& found) {
    return Problem(Writing(expected, kToleranceFp32, found));
  };
  const float nan = std::nanf("");
  EXPECT_EQ(problem({1, nan, kInfinity, 2}), "");
  EXPECT_THAT(problem({1, 5, kInfinity, 2}), HasSubstr("at 1: found 5, expected nan"));
  EXPECT_THAT(problem({1, nan, -kInfinity, 2}), HasSubstr("at 2: found -inf, expected inf"));
  EXPECT_THAT(problem({1, nan, 3, 2}), HasSubstr("at 2: found 3, expected inf"));
  EXPECT_THAT(problem({kInfinity, nan, kInfinity, 2}), HasSubstr("at 0: found inf, expected 1"));
}

TEST(KernelCase, ExpectedZerosAreHeldAgainstOne) {
  const auto problem = [](float found) {
    return Problem(Writing<float>({0, 0}, kToleranceFp32, {found, 0}));
  };
  EXPECT_EQ(problem(1e-6f), "");
  EXPECT_THAT(problem(1e-3f), HasSubstr("at 0: found 0.001, expected 0"));
}

TEST(KernelCase, AnotherNumberOfElementsIsAProblem) {
  KernelCase kernel = Writing<float>({1, 2}, kToleranceFp32, {1, 2});
  kernel.outputs[0].expected.push_back(3);
  EXPECT_EQ(Problem(kernel), "Writing, schedule 0: out: 2 elements, expected 3");
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
