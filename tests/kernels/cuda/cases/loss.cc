#include "tests/kernels/cuda/cases/loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace trainyard::kernels::cuda::testing {
namespace {

struct ExpectedRow {
  double loss = 0;
  bool correct = false;
  std::vector<double> gradient;
};

ExpectedRow ExpectRow(const double* logits, int classes, int label, double smoothing, int batch) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  const bool nan = std::any_of(logits, logits + classes, [](double x) { return std::isnan(x); });
  const double* best = std::max_element(logits, logits + classes);
  if (nan || label < 0 || label >= classes || std::isinf(*best)) {
    return {kNaN, !nan && best - logits == label, std::vector<double>(classes, kNaN)};
  }
  double sum = 0;
  for (int k = 0; k < classes; ++k) sum += std::exp(logits[k] - *best);
  ExpectedRow row{0, best - logits == label, {}};
  for (int k = 0; k < classes; ++k) {
    const double target = (k == label ? 1 - smoothing : 0) + smoothing / classes;
    const double log_p = logits[k] - *best - std::log(sum);
    row.loss -= target * log_p;
    row.gradient.push_back((std::exp(log_p) - target) / batch);
  }
  return row;
}

}  // namespace

LossInput DrawLossInput(int batch, int classes, float deviation, uint64_t seed) {
  Draw draw(seed);
  LossInput input{batch, classes, draw.Normal(int64_t{batch} * classes, 0, deviation)};
  const int images = batch / 2 + 3;
  for (int i = 0; i < images; ++i) input.labels.push_back(draw.Between(0, classes - 1));
  for (int n = 0; n < batch; ++n) input.indices.push_back(draw.Between(0, images - 1));
  return input;
}

template <typename T>
KernelCase LossCase(const LossInput& input) {
  const int batch = input.batch, classes = input.classes;
  const std::vector<T> logits = Round<T>(input.logits);
  const std::vector<double> wide = Widen(logits);
  const double smoothing = input.evaluation ? 0 : static_cast<double>(input.smoothing);
  std::vector<double> gradient;
  double loss = 0, correct = 0;
  for (int n = 0; n < batch; ++n) {
    const ExpectedRow row = ExpectRow(wide.data() + int64_t{n} * classes, classes,
                                      input.labels[input.indices[n]], smoothing, batch);
    gradient.insert(gradient.end(), row.gradient.begin(), row.gradient.end());
    loss += row.loss;
    correct += row.correct;
  }
  const auto in = Upload(logits), out = input.in_place ? in : Allocate<T>(logits.size());
  const auto labels = Upload(input.labels), indices = Upload(input.indices);
  const auto source = Upload(std::vector<BatchSource>{{nullptr, labels->data()}});
  StepBlock block;
  block.label_smoothing = input.smoothing;
  const Shared<StepBlock> step = input.evaluation ? nullptr : Upload(std::vector{block});
  const auto workspace = Allocate<uint8_t>(LossWorkspaceBytes(batch));
  const auto result = Allocate<LossResult>(1);
  KernelCase kernel;
  kernel.name = "SoftmaxCrossEntropy " + TypeName<T>() + " " + std::to_string(batch) + "x" +
                std::to_string(classes) + (input.gradient ? "" : " without gradient");
  kernel.launch = [=, write = input.gradient, keep = labels](cudaStream_t stream) {
    SoftmaxCrossEntropy(batch, classes, in->data(), source->data(), indices->data(),
                        step == nullptr ? nullptr : step->data(), workspace->data(),
                        write ? out->data() : nullptr, result->data(), stream);
  };
  const auto poison = [=] {
    result->Poison();
    workspace->Poison();
  };
  kernel.outputs.push_back({"loss", {loss}, kToleranceFp32, poison, [result] {
                              return std::vector<double>{result->Read()[0].loss_sum};
                            }});
  kernel.outputs.push_back(
      {"correct",
       {correct},
       0,
       [] {},
       [result] { return std::vector<double>{Widen(result->Read()[0].correct)}; }});
  if (input.gradient && input.in_place) {
    kernel.ExpectFrom("gradient", out, logits, gradient);
  } else if (input.gradient) {
    kernel.Expect("gradient", out, gradient);
  }
  kernel.bytes = static_cast<double>(logits.size() * sizeof(T) * (input.gradient ? 2 : 1));
  kernel.flops = 6.0 * static_cast<double>(logits.size());
  return kernel;
}

std::vector<KernelCase> LossTableCases() {
  const auto smooth = [](LossInput input) {
    input.smoothing = 0.1f;
    return input;
  };
  const LossInput cifar = smooth(DrawLossInput(65536, 10, 3, 1));
  const LossInput imagenet = smooth(DrawLossInput(8192, 1000, 3, 2));
  const LossInput wide = smooth(DrawLossInput(512, 21841, 3, 3));
  return {LossCase<float>(cifar),   LossCase<bf16>(cifar), LossCase<float>(imagenet),
          LossCase<bf16>(imagenet), LossCase<float>(wide), LossCase<bf16>(wide)};
}

template KernelCase LossCase<float>(const LossInput&);
template KernelCase LossCase<bf16>(const LossInput&);

}  // namespace trainyard::kernels::cuda::testing
