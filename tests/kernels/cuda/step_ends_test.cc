#include "tests/kernels/cuda/cases/step_ends.h"

#include <gtest/gtest.h>

#include "tests/kernels/cuda/support/refusal.h"

namespace trainyard::kernels::cuda::testing {
namespace {

TEST(StepEnds, BeginStepBringsItsRow) {
  for (int row : {0, 1, 4}) {
    EXPECT_EQ(Problem(BeginStepCase(5, row, 160, 160, row)), "");
    EXPECT_EQ(Problem(BeginStepCase(5, row, 160, 16, row)), "");
  }
}

TEST(StepEnds, BeginStepBringsRowsOfSeveralBlocks) {
  EXPECT_EQ(Problem(BeginStepCase(3, 2, 128 * 16, 128 * 16, 1)), "");
  EXPECT_EQ(Problem(BeginStepCase(3, 2, 300 * 16, 299 * 16, 2)), "");
}

TEST(StepEnds, EndStepKeepsItsOutcomeAndMovesOn) {
  for (bool training : {false, true}) {
    for (int row : {0, 2, 4}) EXPECT_EQ(Problem(EndStepCase(5, row, training)), "");
  }
}

std::string BeginStepRefusal(const char* rows, int row_bytes, int bytes, char* inputs) {
  return Refusal([&] { BeginStep(rows, nullptr, row_bytes, bytes, inputs, nullptr); });
}

TEST(StepEnds, BeginStepRefusesRowsThatVectorsDoNotFill) {
  const DeviceArray<char> memory(64);
  char* at = memory.data();
  EXPECT_EQ(BeginStepRefusal(at, 0, 16, at), "BeginStep: row_bytes = 0, expected at least 1");
  EXPECT_EQ(BeginStepRefusal(at, 32, -16, at), "BeginStep: bytes = -16, expected at least 1");
  EXPECT_EQ(BeginStepRefusal(at, 24, 16, at),
            "BeginStep: row_bytes = 24, expected a multiple of 16");
  EXPECT_EQ(BeginStepRefusal(at, 32, 8, at), "BeginStep: bytes = 8, expected a multiple of 16");
  EXPECT_EQ(BeginStepRefusal(at, 32, 48, at), "BeginStep: bytes = 48, expected at most a row's 32");
  EXPECT_EQ(BeginStepRefusal(at + 4, 32, 32, at), "BeginStep: rows is not aligned to 16 bytes");
  EXPECT_EQ(BeginStepRefusal(at, 32, 32, at + 8), "BeginStep: inputs is not aligned to 16 bytes");
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
