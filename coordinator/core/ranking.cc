#include "coordinator/core/ranking.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_format.h"

namespace trainyard::core {
namespace {

const char* MetricName(TargetMetric metric) {
  return metric == TargetMetric::kValAccuracy ? "val_accuracy" : "val_loss";
}

template <typename Keep>
const Checkpoint* Best(const State& state, const Target& target, Keep keep) {
  const Checkpoint* best = nullptr;
  for (const auto& [id, checkpoint] : state.checkpoints) {
    if (!keep(checkpoint) || checkpoint.state != CheckpointState::kSound || !checkpoint.metric) {
      continue;
    }
    // Of one epoch the later one: a program's last checkpoint has its model files too.
    const bool again =
        best != nullptr && best->trial == checkpoint.trial && best->epoch == checkpoint.epoch;
    if (best == nullptr || again || Better(target, *checkpoint.metric, *best->metric)) {
      best = &checkpoint;
    }
  }
  return best;
}

// First and one past the last of the trial's rows.
auto RowsOf(const State& state, TrialId trial) {
  return std::pair(state.epochs.lower_bound(EpochKey{trial}),
                   state.epochs.lower_bound(EpochKey{TrialId{trial.value + 1}}));
}

}  // namespace

double Value(const Target& target, const Metrics& metrics) {
  return target.metric == TargetMetric::kValAccuracy ? metrics.val_accuracy : metrics.val_loss;
}

bool Meets(const Target& target, double value) {
  if (target.metric == TargetMetric::kValLoss) return value <= target.bound;
  if (value < target.bound) return false;
  const double variance = target.bound * (1 - target.bound);
  if (target.confidence <= 0 || target.images <= 0 || variance <= 0) return true;
  const double z =
      (value - target.bound) / std::sqrt(variance / static_cast<double>(target.images));
  return std::erfc(-z / std::numbers::sqrt2) / 2 >= target.confidence;
}

double Needed(const Target& target) {
  if (target.metric == TargetMetric::kValLoss || !(target.bound < 1)) return target.bound;
  if (Meets(target, target.bound)) return target.bound;
  double low = target.bound;
  double high = 1;
  for (int i = 0; i < 40; ++i) {
    const double middle = (low + high) / 2;
    (Meets(target, middle) ? high : low) = middle;
  }
  return high;
}

bool Better(const Target& target, double a, double b) {
  return target.metric == TargetMetric::kValAccuracy ? a > b : a < b;
}

std::string TargetText(const Target& target) {
  const std::string text =
      absl::StrFormat("%s %s %g", MetricName(target.metric),
                      target.metric == TargetMetric::kValAccuracy ? ">=" : "<=", target.bound);
  if (target.confidence <= 0) return text;
  return absl::StrFormat("%s with %g%% confidence", text, 100 * target.confidence);
}

std::string ValueText(const Target& target, double value) {
  return absl::StrFormat("%s %.4f", MetricName(target.metric), value);
}

const Checkpoint* BestOfTrial(const State& state, const Trial& trial) {
  return Best(state, state.jobs.at(trial.job).request.target,
              [&](const Checkpoint& checkpoint) { return checkpoint.trial == trial.id; });
}

const Checkpoint* BestOfJob(const State& state, const Job& job) {
  return Best(state, job.request.target,
              [&](const Checkpoint& checkpoint) { return checkpoint.job == job.id; });
}

const Checkpoint* Newest(const State& state, TrialId trial) {
  const Checkpoint* newest = nullptr;
  for (const auto& [id, checkpoint] : state.checkpoints) {
    if (checkpoint.trial != trial || checkpoint.state != CheckpointState::kSound) continue;
    if (newest == nullptr || checkpoint.step >= newest->step) newest = &checkpoint;
  }
  return newest;
}

const Checkpoint* WeightsOf(const State& state, const Trial& trial) {
  const Checkpoint* best = BestOfTrial(state, trial);
  return best != nullptr ? best : Newest(state, trial.id);
}

const Checkpoint* RestorePoint(const State& state, const Trial& trial) {
  if (const Checkpoint* own = Newest(state, trial.id)) return own;
  const auto inherited = state.checkpoints.find(trial.inherits);
  if (inherited == state.checkpoints.end()) return nullptr;
  if (inherited->second.state == CheckpointState::kSound) return &inherited->second;
  return WeightsOf(state, state.trials.at(inherited->second.trial));
}

int LiveEpochs(const State& state, TrialId trial) {
  int epochs = 0;
  const auto [first, last] = RowsOf(state, trial);
  for (auto row = first; row != last; ++row) {
    if (!row->second.superseded) epochs = std::max(epochs, row->first.epoch);
  }
  return epochs;
}

int64_t LiveEpochs(const State& state, const Job& job) {
  int64_t epochs = 0;
  for (const TrialId trial : job.trials) epochs += LiveEpochs(state, trial);
  return epochs;
}

const Epoch* LiveRow(const State& state, TrialId trial, int epoch) {
  const auto last = state.epochs.lower_bound(EpochKey{trial, epoch + 1});
  for (auto row = state.epochs.lower_bound(EpochKey{trial, epoch}); row != last; ++row) {
    if (!row->second.superseded) return &row->second;
  }
  return nullptr;
}

std::optional<double> BestValue(const State& state, const Job& job, TrialId trial) {
  std::optional<double> best;
  const auto [first, last] = RowsOf(state, trial);
  for (auto row = first; row != last; ++row) {
    const double value = Value(job.request.target, row->second.metrics);
    if (row->second.superseded || !std::isfinite(value)) continue;
    if (!best || Better(job.request.target, value, *best)) best = value;
  }
  return best;
}

}  // namespace trainyard::core
