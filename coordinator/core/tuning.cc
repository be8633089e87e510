#include "coordinator/core/tuning.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/core/ranking.h"
#include "network/adjust.h"

namespace trainyard::core {
namespace {

TrialResult ResultOf(const State& state, const Trial& trial) {
  switch (trial.state) {
    case TrialState::kDiverged:
      return TrialResult::kDiverged;
    case TrialState::kFailed:
      return state.attempts.at(trial.attempt).cause == Cause::kOutOfMemory
                 ? TrialResult::kOutOfMemory
                 : TrialResult::kFailed;
    case TrialState::kHalted:
      return TrialResult::kHalted;
    case TrialState::kQueued:
    case TrialState::kRunning:
      return TrialResult::kRunning;
    default:
      return TrialResult::kCompleted;
  }
}

}  // namespace

TrialHistory HistoryOf(const State& state, const Trial& trial) {
  TrialHistory history{.number = trial.number,
                       .configuration = trial.configuration,
                       .current = trial.current(),
                       .result = ResultOf(state, trial),
                       .confusion = trial.confusion,
                       .inherited = static_cast<bool>(trial.inherits),
                       .until_epoch = trial.until_epoch,
                       .adjustments = static_cast<int>(trial.adjustments.size()),
                       .rewinds = trial.rewinds};
  if (trial.tweak) {
    history.base = trial.tweak->base;
    history.move = trial.tweak->move;
    history.expected_gain = trial.tweak->expected_gain;
  }
  for (int epoch = 1; const Epoch* row = LiveRow(state, trial.id, epoch); ++epoch) {
    history.epochs.push_back(row->metrics);
  }
  return history;
}

TuningTask TaskOf(const State& state, const Job& job, TrialId last) {
  TuningTask task{.target = job.request.target,
                  .limits = job.request.tuning,
                  .last = last ? state.trials.at(last).number : 0,
                  .train_images = job.request.train_images};
  task.limits.max_trials = TrialsMax(job);
  for (const TrialId id : job.trials) task.trials.push_back(HistoryOf(state, state.trials.at(id)));
  if (job.request.budget.epochs > 0) {
    task.epochs_left = job.request.budget.epochs - LiveEpochs(state, job);
  }
  return task;
}

Advice Advise(const State& state, const Job& job) {
  TuningTask task = TaskOf(state, job, {});
  task.EndRunning();
  task.last = task.trials.back().number;
  return PolicyOf(job.request.tuning.algorithm).Propose(task, job.request.tuning.parallel);
}

std::optional<Adjustment> AdjustmentFor(const Correction& correction,
                                        const network::Configuration& current, int64_t step,
                                        int64_t steps_per_epoch) {
  const network::Configuration& next = correction.stop ? current : correction.configuration;
  const network::Boundary boundary = network::BoundaryOf(current, next);
  if (boundary == network::Boundary::kTrial) return std::nullopt;
  return Adjustment{.step = step + std::max<int64_t>(1, steps_per_epoch / 8),
                    .at_epoch = boundary == network::Boundary::kEpoch,
                    .stop = correction.stop,
                    .configuration = next,
                    .tweak = correction.tweak};
}

std::string NextTry(const State& state, const Job& job) {
  const TuningLimits& tuning = job.request.tuning;
  if (job.request.configuration.IsProgram() && !tuning.enabled) return "";  // it takes no changes
  TuningTask task = TaskOf(state, job, job.trials.back());
  task.epochs_left = 0;
  task.limits.max_trials = 0;
  task.EndRunning();
  const Advice advice = PolicyOf(tuning.algorithm).Propose(task, 1);
  if (advice.next.empty()) return "";
  return absl::StrCat("; next it would try: ", advice.next.front().tweak.reason);
}

std::optional<double> GainOf(const State& state, const Trial& trial) {
  if (!trial.tweak || trial.tweak->base == 0) return std::nullopt;
  const Job& job = state.jobs.at(trial.job);
  const Trial* base = TrialOf(state, job, trial.tweak->base);
  if (base == nullptr) return std::nullopt;
  const std::optional<double> before = BestValue(state, job, base->id);
  const std::optional<double> after = BestValue(state, job, trial.id);
  if (!before || !after) return std::nullopt;
  const bool accuracy = job.request.target.metric == TargetMetric::kValAccuracy;
  return accuracy ? *after - *before : *before - *after;
}

int TrialsMax(const Job& job) {
  const int a = job.request.budget.trials;
  const int b = job.request.tuning.max_trials;
  return a == 0 || b == 0 ? std::max(a, b) : std::min(a, b);
}

const Trial* TrialOf(const State& state, const Job& job, int number) {
  if (number < 1 || number > static_cast<int>(job.trials.size())) return nullptr;
  return &state.trials.at(job.trials[static_cast<size_t>(number - 1)]);
}

std::vector<TrialId> Going(const State& state, const Job& job) {
  std::vector<TrialId> going;
  for (const TrialId id : job.trials) {
    if (state.trials.at(id).going()) going.push_back(id);
  }
  return going;
}

const Trial& BaseOfProposal(const State& state, const Job& job) {
  const Trial* base = job.proposal ? TrialOf(state, job, job.proposal->tweak.base) : nullptr;
  return base != nullptr ? *base : state.trials.at(job.trials.back());
}

const network::Configuration& BaseForTweak(const State& state, const Job& job, int trial) {
  if (trial == 0 && job.proposal) return job.proposal->configuration;
  const Trial* named = TrialOf(state, job, trial);
  return (named != nullptr ? *named : state.trials.at(job.trials.back())).current();
}

}  // namespace trainyard::core
