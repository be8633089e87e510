#include "tests/kernels/cuda/cases/step_ends.h"

namespace trainyard::kernels::cuda::testing {

KernelCase BeginStepCase(int rows, int row, int row_bytes, int bytes, uint64_t seed) {
  Draw draw(seed);
  std::vector<uint8_t> table(int64_t{rows} * row_bytes);
  for (uint8_t& byte : table) byte = static_cast<uint8_t>(draw.Between(0, 255));
  const auto first = table.begin() + int64_t{row} * row_bytes;
  const std::vector<double> expected(first, first + bytes);
  const auto from = Upload(table), inputs = Allocate<uint8_t>(bytes);
  const auto cursor = Upload(std::vector<int32_t>{row});
  KernelCase kernel;
  kernel.name = "BeginStep row " + std::to_string(row) + " of " + std::to_string(rows) + ", " +
                std::to_string(bytes) + " of " + std::to_string(row_bytes) + " bytes";
  kernel.launch = [=](cudaStream_t stream) {
    BeginStep(reinterpret_cast<const char*>(from->data()), cursor->data(), row_bytes, bytes,
              reinterpret_cast<char*>(inputs->data()), stream);
  };
  kernel.Expect("inputs", inputs, expected, 0);
  kernel.bytes = 2.0 * bytes;
  return kernel;
}

KernelCase EndStepCase(int rows, int row, bool training) {
  const LossResult given{3.25, 17};
  const auto loss = Upload(std::vector{given});
  const Shared<double> norm = training ? Upload(std::vector<double>{0.75}) : nullptr;
  std::vector<StepOutcome> before(rows);
  for (int i = 0; i < rows; ++i) before[i] = {{-1.0 - i, -i}, -0.5};
  std::vector<double> expected;
  for (int i = 0; i < rows; ++i) {
    const StepOutcome after = i == row ? StepOutcome{given, training ? 0.75 : 0} : before[i];
    expected.insert(expected.end(), {after.loss.loss_sum, Widen(after.loss.correct), after.norm});
  }
  const auto outcomes = Allocate<StepOutcome>(rows);
  const auto cursor = Allocate<int32_t>(1);
  KernelCase kernel;
  kernel.name = "EndStep row " + std::to_string(row) + " of " + std::to_string(rows) +
                (training ? "" : " evaluation");
  kernel.launch = [=](cudaStream_t stream) {
    EndStep(loss->data(), training ? norm->data() : nullptr, outcomes->data(), cursor->data(),
            stream);
  };
  kernel.ExpectFrom("cursor", cursor, std::vector<int32_t>{row}, {row + 1.0}, 0);
  kernel.outputs.push_back(
      {"outcomes", expected, 0, [=] { outcomes->Write(before); },
       [=] {
         std::vector<double> values;
         for (const StepOutcome& outcome : outcomes->Read()) {
           values.insert(values.end(),
                         {outcome.loss.loss_sum, Widen(outcome.loss.correct), outcome.norm});
         }
         return values;
       }});
  kernel.bytes = 2.0 * sizeof(StepOutcome);
  return kernel;
}

std::vector<KernelCase> StepEndsTableCases() {
  return {BeginStepCase(64, 7, 2304, 2304, 1), BeginStepCase(64, 63, 16640, 16640, 2),
          EndStepCase(64, 7, true)};
}

}  // namespace trainyard::kernels::cuda::testing
