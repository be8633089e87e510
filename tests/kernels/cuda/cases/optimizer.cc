#include "tests/kernels/cuda/cases/optimizer.h"

#include <algorithm>
#include <cmath>

namespace trainyard::kernels::cuda::testing {
namespace {

// Inputs of a case: what holds parameters, and what is padding, zero in every span.
struct Spans {
  std::vector<float> gradients, parameters, moment1, moment2;
  std::vector<uint8_t> decays;
};

Spans DrawSpans(const OptimizerSetting& setting, Draw& draw) {
  const int64_t count = setting.count;
  Spans spans{draw.Normal(count), draw.Normal(count, 0, 0.1f), {}, {}, {}};
  for (int64_t i = count; i-- > 0;) {  // moments as of other gradients
    spans.moment1.push_back(0.3f * spans.gradients[i]);
    spans.moment2.push_back(9 * spans.parameters[i] * spans.parameters[i]);
  }
  for (int64_t block = 0; block < count / kSpanBlock;) {
    const int64_t blocks = std::min<int64_t>(draw.Between(1, 5), count / kSpanBlock - block);
    spans.decays.insert(spans.decays.end(), blocks, draw.Chance(50));
    const int64_t end = (block += blocks) * kSpanBlock;
    for (int64_t i = end - draw.Between(0, kSpanBlock - 1); i < end; ++i) {
      spans.gradients[i] = spans.parameters[i] = spans.moment1[i] = spans.moment2[i] = 0;
    }
  }
  if (setting.spoiler != 0) spans.gradients[0] = setting.spoiler;
  return spans;
}

// The steps' blocks, their corrections as the host writes them.
std::vector<StepBlock> Steps(const OptimizerSetting& setting) {
  std::vector<StepBlock> steps(setting.steps, setting.step);
  for (int i = 0; i < setting.steps; ++i) {
    StepBlock& step = steps[i];
    step.step += i;
    const auto past = static_cast<double>(step.step + 1);
    step.correction1 = static_cast<float>(1 - std::pow(static_cast<double>(step.beta1), past));
    step.correction2 = static_cast<float>(1 - std::pow(static_cast<double>(step.beta2), past));
  }
  return steps;
}

struct Expected {
  std::vector<double> parameters, moment1, moment2;
};

void Step(const StepBlock& step, double norm, const Spans& spans, Expected& state) {
  const double limit = step.clip_norm, clip = limit > 0 && norm > limit ? limit / norm : 1;
  const double lr = step.learning_rate, momentum = step.momentum;
  const double beta1 = step.beta1, beta2 = step.beta2;
  const auto past = static_cast<double>(step.step + 1);
  const double correction1 = 1 - std::pow(beta1, past), correction2 = 1 - std::pow(beta2, past);
  for (size_t i = 0; i < spans.gradients.size(); ++i) {
    double &w = state.parameters[i], &m = state.moment1[i], &v = state.moment2[i];
    const double decay = spans.decays[i / kSpanBlock] != 0 ? step.weight_decay : 0;
    const double g = spans.gradients[i] * clip;
    if (step.adamw != 0) {
      m = beta1 * m + (1 - beta1) * g;
      v = beta2 * v + (1 - beta2) * g * g;
      w -= lr * (m / correction1 / (std::sqrt(v / correction2) + step.epsilon) + decay * w);
    } else {
      m = momentum * m + (g + decay * w);
      w -= lr * (step.nesterov != 0 ? g + decay * w + momentum * m : m);
    }
  }
}

// 1 where an element of `copy` is not the rounded parameter, else 0.
std::vector<double> CopyFaults(const std::vector<bf16>& copy,
                               const std::vector<float>& parameters) {
  std::vector<double> faults(copy.size());
  for (size_t i = 0; i < copy.size(); ++i) faults[i] = copy[i].bits != ToBf16(parameters[i]).bits;
  return faults;
}

OptimizerSetting AdamW(int64_t count, bool copy) {
  OptimizerSetting setting{count};
  setting.step.adamw = 1;
  setting.step.learning_rate = 0.001f;
  setting.step.beta1 = 0.9f;
  setting.step.beta2 = 0.999f;
  setting.step.epsilon = 1e-8f;
  setting.step.weight_decay = 0.01f;
  setting.copy = copy;
  return setting;
}

OptimizerSetting Sgd(int64_t count, bool copy) {
  OptimizerSetting setting{count};
  setting.step.nesterov = 1;
  setting.step.learning_rate = 0.05f;
  setting.step.momentum = 0.9f;
  setting.step.weight_decay = 5e-4f;
  setting.copy = copy;
  return setting;
}

}  // namespace

KernelCase GradientNormCase(int64_t count, float scale, uint64_t seed) {
  std::vector<float> gradients = Draw(seed).Normal(count);
  double sum = 0;
  for (float& g : gradients) {
    g *= scale;
    sum += static_cast<double>(g) * g;
  }
  const auto in = Upload(gradients);
  const auto workspace = Allocate<double>(GradientNormWorkspace(count));
  const auto norm = Allocate<double>(1);
  KernelCase kernel;
  kernel.name = "GradientNorm " + std::to_string(count);
  kernel.launch = [=](cudaStream_t stream) {
    GradientNorm(in->data(), count, workspace->data(), norm->data(), stream);
  };
  kernel.Expect("norm", norm, {std::sqrt(sum)}, 1e-10);
  kernel.bytes = 4.0 * static_cast<double>(count);
  kernel.flops = 2.0 * static_cast<double>(count);
  return kernel;
}

KernelCase OptimizerCase(const OptimizerSetting& setting, uint64_t seed) {
  Draw draw(seed);
  const Spans before = DrawSpans(setting, draw);
  const std::vector<StepBlock> steps = Steps(setting);
  const bool adamw = setting.step.adamw != 0;
  Expected after{Widen(before.parameters), Widen(before.moment1), Widen(before.moment2)};
  for (const StepBlock& step : steps) Step(step, setting.norm, before, after);

  const auto gradients = Upload(before.gradients), parameters = Upload(before.parameters);
  const auto moment1 = Upload(before.moment1);
  const Shared<float> moment2 = adamw ? Upload(before.moment2) : nullptr;
  const auto decays = Upload(before.decays);
  const auto blocks = Upload(steps);
  const auto norm = Upload(std::vector{setting.norm});
  const Shared<bf16> copy = setting.copy ? Allocate<bf16>(setting.count) : nullptr;
  KernelCase kernel;
  kernel.name = std::string("OptimizerStep ") + (adamw ? "AdamW " : "SGD ") +
                (setting.copy ? "with copy " : "") + std::to_string(setting.count);
  kernel.launch = [=, count = setting.count](cudaStream_t stream) {
    const OptimizerSpans spans{count,
                               gradients->data(),
                               decays->data(),
                               parameters->data(),
                               moment1->data(),
                               moment2 == nullptr ? nullptr : moment2->data(),
                               copy == nullptr ? nullptr : copy->data()};
    for (int64_t i = 0; i < blocks->count(); ++i) {
      OptimizerStep(blocks->data() + i, norm->data(), spans, stream);
    }
  };
  constexpr double kTight = 2e-6;
  kernel.ExpectFrom("parameters", parameters, before.parameters, after.parameters, kTight);
  kernel.ExpectFrom("moment1", moment1, before.moment1, after.moment1, kTight);
  if (adamw) kernel.ExpectFrom("moment2", moment2, before.moment2, after.moment2, kTight);
  if (setting.copy) {
    kernel.outputs.push_back({"copy", std::vector<double>(setting.count), 0,
                              [copy] { copy->Poison(); },
                              [=] { return CopyFaults(copy->Read(), parameters->Read()); }});
  }
  const double per_element = (adamw ? 28 : 20) + (setting.copy ? 2 : 0) + 1.0 / kSpanBlock;
  kernel.bytes = per_element * static_cast<double>(setting.count) * setting.steps;
  kernel.flops = (adamw ? 15.0 : 8.0) * static_cast<double>(setting.count) * setting.steps;
  return kernel;
}

std::vector<KernelCase> OptimizerTableCases() {
  constexpr int64_t kCount = int64_t{1} << 23;  // far beyond what caches hold, in all spans
  return {GradientNormCase(4 * kCount, 1, 1), OptimizerCase(Sgd(kCount, false), 2),
          OptimizerCase(Sgd(kCount, true), 3), OptimizerCase(AdamW(kCount, false), 4),
          OptimizerCase(AdamW(kCount, true), 5)};
}

}  // namespace trainyard::kernels::cuda::testing
