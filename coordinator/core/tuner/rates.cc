#include "coordinator/core/tuner/rates.h"

#include <algorithm>
#include <cmath>
#include <variant>

namespace trainyard::core {
namespace {

bool HasBatchNorm(const std::vector<network::Layer>& layers) {
  return std::ranges::any_of(layers, [](const network::Layer& layer) {
    const auto* residual = std::get_if<network::Residual>(&layer.op);
    return std::holds_alternative<network::BatchNorm>(layer.op) ||
           (residual != nullptr && HasBatchNorm(residual->body));
  });
}

}  // namespace

double RateOf(const TrialHistory& trial) {
  if (!trial.current.IsProgram()) return trial.current.training.optimizer.learning_rate;
  if (trial.current.changes.learning_rate > 0) return trial.current.changes.learning_rate;
  const double first = trial.epochs.empty() ? 0 : trial.epochs.front().learning_rate;
  return std::isfinite(first) && first > 0 ? first : 0;
}

double UsualRate(const network::Configuration& configuration) {
  constexpr double kSgd = 1;  // of the rate over 1 - momentum
  constexpr double kAdamW = 0.002;
  constexpr size_t kShallow = 12;  // layers
  if (configuration.IsProgram()) return 0;
  const network::Optimizer& optimizer = configuration.training.optimizer;
  if (optimizer.kind == network::OptimizerKind::kAdamW) return kAdamW;
  const std::vector<network::Layer>& layers = configuration.network.layers;
  if (!HasBatchNorm(layers) && layers.size() > kShallow) return 0;
  return kSgd * (1 - optimizer.momentum);
}

bool RateFalls(const network::Schedule& schedule) {
  return schedule.kind == network::ScheduleKind::kCosine ||
         schedule.kind == network::ScheduleKind::kOneCycle;
}

void ClipAtOne(network::Optimizer& optimizer) {
  optimizer.clip_norm = optimizer.clip_norm > 0 ? std::min(optimizer.clip_norm, 1.0) : 1.0;
}

bool Anneals(const network::Training& training) {
  constexpr double kNothing = 0.2;  // of the peak
  return RateFalls(training.schedule) && training.schedule.final_factor <= kNothing;
}

}  // namespace trainyard::core
