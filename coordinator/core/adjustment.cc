// Changes of a running trial.
//
// A change and the step at which it takes effect are committed first and told to the worker then. A
// worker that is past that step refuses, and a later one is chosen; one that takes it is bound.
// Every attempt gets the whole list, so a trial that is trained again does the same at the same
// steps. A trial has at most one change that is not settled yet.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "coordinator/core/ranking.h"
#include "coordinator/core/tuning.h"
#include "coordinator/core/walk.h"
#include "network/adjust.h"

namespace trainyard::core {
namespace {

constexpr int64_t kAheadMs = 300;  // time for a change to reach its worker
constexpr int64_t kAheadSteps = 2;
constexpr int kRewindsMax = 5;  // whatever a policy says

// A step that the attempt has most likely not reached when it hears of it.
int64_t StepAhead(const State& state, const Trial& trial, int64_t now_ms) {
  const Attempt& attempt = state.attempts.at(trial.attempt);
  if (!attempt.held()) {
    const Checkpoint* from = RestorePoint(state, trial);
    const int64_t restored = from != nullptr && from->trial == trial.id ? from->step : 0;
    // Epochs that were reported beyond that are trained again, and come out as they did.
    const int done = LiveEpochs(state, trial.id);
    return std::max(restored, done == 0 ? 0 : LiveRow(state, trial.id, done)->step);
  }
  const int64_t step_us = MedianStepUs(attempt.live.step_us);
  const int64_t done = std::max(attempt.step, attempt.live.step);
  if (step_us <= 0) return done + kAheadSteps;
  const int64_t quiet_ms = std::max<int64_t>(0, now_ms - attempt.live.progress_ms);
  return done + (quiet_ms + kAheadMs) * 1000 / step_us + kAheadSteps;
}

// The end of the last epoch is in time for one more; anything behind it is too late.
int64_t InTime(const State& state, const Trial& trial, const Adjustment& adjustment, int64_t step) {
  const int done = LiveEpochs(state, trial.id);
  if (!adjustment.at_epoch || done == 0) return step;
  const size_t before = trial.adjustments.size() - (Unsettled(trial) ? 1 : 0);
  const network::Configuration& now =
      before == 0 ? trial.configuration : trial.adjustments[before - 1].configuration;
  const int64_t steps_per_epoch = LiveRow(state, trial.id, done)->step / done;
  return std::min(step, steps_per_epoch * now.training.epochs);
}

void TellSettled(Turn& turn, const Trial& trial, size_t index) {
  const Adjustment& adjustment = trial.adjustments[index];
  const std::string what =
      adjustment.stop ? "ends" : absl::StrJoin(adjustment.tweak.changes, ", ", ChangeText);
  turn.Tell({.kind = HistoryKind::kAdjustment,
             .job = trial.job,
             .trial = trial.id,
             .text = absl::StrCat("trial ", trial.number, " from step ", adjustment.step, " on",
                                  adjustment.at_epoch ? ", at the end of an epoch" : "", ": ", what,
                                  "; ", adjustment.tweak.reason)});
}

void Settle(Turn& turn, TrialId id, size_t index, int64_t step) {
  Trial& trial = turn.Change(id);
  trial.adjustments[index].step = step;
  trial.adjustments[index].settled = true;
  TellSettled(turn, trial, index);
}

}  // namespace

bool Unsettled(const Trial& trial) {
  return !trial.adjustments.empty() && !trial.adjustments.back().settled;
}

std::string AdjustTrial(Turn& turn, TrialId id, Adjustment adjustment) {
  Trial& trial = turn.Change(id);
  if (adjustment.step == 0) adjustment.step = StepAhead(turn.state, trial, turn.now_ms);
  adjustment.step = InTime(turn.state, trial, adjustment, adjustment.step);
  if (!trial.adjustments.empty()) {
    adjustment.step = std::max(adjustment.step, trial.adjustments.back().step);
  }
  const std::string effect =
      adjustment.at_epoch
          ? absl::StrCat("trial ", trial.number, " changes at the end of an epoch, from step ",
                         adjustment.step, " on")
          : absl::StrCat("trial ", trial.number, " changes from step ", adjustment.step, " on");
  trial.adjustments.push_back(std::move(adjustment));
  SendAdjustment(turn, trial);
  return effect;
}

void SendAdjustment(Turn& turn, const Trial& trial) {
  const Attempt& attempt = turn.state.attempts.at(trial.attempt);
  if (!Unsettled(trial) || !attempt.held() || attempt.finishing) return;
  turn.Do(AdjustAttempt{attempt.claim(), trial.id, static_cast<int>(trial.adjustments.size())});
}

void SettleAtStart(Turn& turn, TrialId id, int64_t from_step) {
  const Trial& trial = turn.state.trials.at(id);
  if (!Unsettled(trial)) return;
  const size_t last = trial.adjustments.size() - 1;
  Settle(turn, id, last, std::max(trial.adjustments[last].step, from_step));
}

bool SettleFromReport(Turn& turn, TrialId id, const std::vector<int64_t>& adjusted_at,
                      int64_t step) {
  const Trial& trial = turn.state.trials.at(id);
  if (adjusted_at.size() > trial.adjustments.size()) return false;
  for (size_t i = 0; i < adjusted_at.size(); ++i) {
    if (!trial.adjustments[i].settled) Settle(turn, id, i, adjusted_at[i]);
  }
  if (Unsettled(trial) && trial.adjustments.back().step < step) {
    turn.Change(id).adjustments.back().step = step;
  }
  return true;
}

void DropLastChange(Turn& turn, TrialId id) {
  Trial& trial = turn.Change(id);
  turn.Tell({.kind = HistoryKind::kNote,
             .job = trial.job,
             .trial = id,
             .text = absl::StrCat("a change of trial ", trial.number,
                                  " came too late: ", trial.adjustments.back().tweak.reason)});
  trial.adjustments.pop_back();
}

void DropOverdue(Turn& turn, TrialId id, int64_t step) {
  while (true) {
    const Trial& trial = turn.state.trials.at(id);
    if (trial.adjustments.empty() || trial.adjustments.back().step <= step) return;
    DropLastChange(turn, id);
  }
}

void On(Turn& turn, const AdjustmentAnswered& event) {
  const Attempt* attempt = Admit(turn, event.claim);
  if (attempt == nullptr) return;
  turn.Do(Acknowledge{event.claim, event.sequence});
  const Trial& trial = turn.state.trials.at(attempt->trial);
  const auto index = static_cast<size_t>(event.number - 1);
  if (event.number < 1 || index >= trial.adjustments.size()) return;
  const Adjustment& adjustment = trial.adjustments[index];
  if (adjustment.settled) return;
  if (event.taken) return Settle(turn, trial.id, index, event.step);
  if (event.step < adjustment.step) return;  // of an earlier choice, which was moved since
  // The more it came late, the more room the next one gets.
  const int64_t late = event.step - adjustment.step;
  const int64_t later = event.step + 2 * late + kAheadSteps;
  turn.Change(trial.id).adjustments[index].step =
      std::max(event.step, InTime(turn.state, trial, adjustment, later));
  SendAdjustment(turn, trial);
}

void WatchTrial(Turn& turn, const Epoch& row) {
  const Trial& trial = turn.state.trials.at(row.key.trial);
  const Job& job = turn.state.jobs.at(trial.job);
  const TuningLimits& tuning = job.request.tuning;
  const Attempt& attempt = turn.state.attempts.at(trial.attempt);
  if (!tuning.enabled || !tuning.in_flight || job.request.manual) return;
  if (tuning.algorithm != Algorithm::kDiagnose) return;  // a search compares what it left alone
  if (job.state != JobState::kRunning || !attempt.held()) return;
  if (attempt.cause == Cause::kTweaked) return;
  if (Unsettled(trial) || (!trial.adjustments.empty() && trial.adjustments.back().stop)) return;
  if (trial.epochs() > 0 && row.key.epoch >= trial.epochs()) return;
  if (Meets(job.request.target, Value(job.request.target, row.metrics))) return;
  const std::optional<Correction> correction =
      PolicyOf(tuning.algorithm).Watch(TaskOf(turn.state, job, {}), HistoryOf(turn.state, trial));
  if (!correction) return;
  std::optional<Adjustment> adjustment =
      AdjustmentFor(*correction, trial.current(), row.step, row.step / row.key.epoch);
  if (adjustment) AdjustTrial(turn, trial.id, *std::move(adjustment));
}

bool Rewind(Turn& turn, TrialId id) {
  const Trial& trial = turn.state.trials.at(id);
  const Job& job = turn.state.jobs.at(trial.job);
  const TuningLimits& tuning = job.request.tuning;
  const Checkpoint* best = BestOfTrial(turn.state, trial);
  if (!tuning.enabled || !tuning.in_flight || best == nullptr) return false;
  if (trial.configuration.IsProgram() || trial.rewinds >= kRewindsMax) return false;
  const std::optional<Correction> correction =
      PolicyOf(tuning.algorithm).Rescue(TaskOf(turn.state, job, {}), HistoryOf(turn.state, trial));
  if (!correction || correction->stop) return false;
  if (network::BoundaryOf(trial.current(), correction->configuration) ==
      network::Boundary::kTrial) {
    return false;
  }
  const int64_t step = best->step;
  Trial& changed = turn.Change(id);
  ++changed.rewinds;
  std::erase_if(changed.adjustments, [step](const Adjustment& adjustment) {
    return adjustment.step > step || !adjustment.settled;
  });
  changed.adjustments.push_back({.step = step,
                                 .configuration = correction->configuration,
                                 .tweak = correction->tweak,
                                 .settled = true});
  TellSettled(turn, changed, changed.adjustments.size() - 1);
  // What was stored on the way into the ground is nothing to continue from.
  for (const auto& [checkpoint_id, checkpoint] : turn.state.checkpoints) {
    if (checkpoint.trial != id || checkpoint.state != CheckpointState::kSound) continue;
    if (checkpoint.step <= step) continue;
    const bool pinned = checkpoint.pinned;
    turn.Change(checkpoint_id).state =
        pinned ? CheckpointState::kBroken : CheckpointState::kDropping;
    if (!pinned) turn.Do(DropCheckpoint{checkpoint_id, checkpoint.sha256});
  }
  QueueAttempt(turn, id, /*finishing=*/false, /*pause_ms=*/0);
  return true;
}

}  // namespace trainyard::core
