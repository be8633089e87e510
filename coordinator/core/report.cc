// What a worker reports of its attempt: life, epochs, checkpoints, the end.
//
// A report is admitted under the claim that holds the attempt now, and changes nothing when it was
// heard before. One that leaves a gap is not acknowledged: it comes again, after what is missing.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "coordinator/core/ranking.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

constexpr size_t kNotesKept = 32;

// An epoch that was done before came out differently: people should know.
void CompareWithEarlier(Turn& turn, const Epoch& row) {
  for (auto earlier = turn.state.epochs.lower_bound(EpochKey{row.key.trial, row.key.epoch});
       earlier->first < row.key; ++earlier) {
    const Epoch& before = earlier->second;
    if (!before.exact || !row.exact || before.metrics == row.metrics) continue;
    turn.Tell({.kind = HistoryKind::kNote,
               .job = row.job,
               .trial = row.key.trial,
               .attempt = row.key.attempt,
               .text = absl::StrFormat("epoch %d came out differently when it was repeated: "
                                       "val_accuracy %.6f, before %.6f",
                                       row.key.epoch, row.metrics.val_accuracy,
                                       before.metrics.val_accuracy)});
    return;
  }
}

// The trial cannot be complete while an epoch of it is unheard of. Programs may end early.
bool EpochsMissing(const State& state, const Attempt& attempt, int64_t step) {
  const Trial& trial = state.trials.at(attempt.trial);
  if (trial.configuration.IsProgram()) return false;
  int epochs = trial.configuration.training.epochs;
  for (const Adjustment& adjustment : trial.adjustments) {
    if (adjustment.step > step) break;  // it has not come to that
    if (adjustment.stop) return false;
    epochs = adjustment.configuration.training.epochs;
  }
  if (trial.until_epoch > 0) epochs = std::min(epochs, trial.until_epoch);
  return LiveEpochs(state, trial.id) < epochs;
}

void UpdateBest(Turn& turn, JobId id) {
  const Checkpoint* best = BestOfJob(turn.state, turn.state.jobs.at(id));
  const CheckpointId best_id = best != nullptr ? best->id : CheckpointId{};
  if (turn.state.jobs.at(id).best == best_id || turn.state.jobs.at(id).ended()) return;
  Job& job = turn.Change(id);
  job.best = best_id;
  job.best_metric = best != nullptr ? best->metric : std::nullopt;
}

// Heard already: not beyond what is committed, unless it adds that the weights were measured.
bool Known(const State& state, TrialId trial, const CheckpointStored& event) {
  const Checkpoint* newest = Newest(state, trial);
  if (newest == nullptr || event.step > newest->step) return false;
  return event.step < newest->step || newest->end_of_epoch || !event.end_of_epoch;
}

CheckpointId AddCheckpoint(Turn& turn, const Attempt& attempt, const CheckpointStored& event) {
  Checkpoint& checkpoint = turn.Add(turn.state.checkpoints, &Counters::checkpoint);
  checkpoint.job = attempt.job;
  checkpoint.trial = attempt.trial;
  checkpoint.attempt = attempt.id;
  checkpoint.sha256 = event.sha256;
  checkpoint.bytes = event.bytes;
  checkpoint.step = event.step;
  checkpoint.epoch = event.epoch;
  checkpoint.end_of_epoch = event.end_of_epoch;
  checkpoint.stored_wall_ms = turn.wall_ms;
  if (event.end_of_epoch) {
    const Epoch* row = LiveRow(turn.state, attempt.trial, event.epoch);
    const double value = Value(turn.state.jobs.at(attempt.job).request.target, row->metrics);
    if (std::isfinite(value)) checkpoint.metric = value;
  }
  turn.Tell({.kind = HistoryKind::kCheckpoint,
             .job = attempt.job,
             .trial = attempt.trial,
             .attempt = attempt.id,
             .text = absl::StrCat("checkpoint at step ", event.step)});
  return checkpoint.id;
}

Cause CauseOf(const Attempt& attempt, Outcome outcome) {
  switch (outcome) {
    case Outcome::kCompleted:
      return attempt.finishing ? Cause::kFailed : Cause::kEpochsDone;  // of a finish, ModelFinished
    case Outcome::kStopped:
      return Cause::kPreempted;
    case Outcome::kDiverged:
      return attempt.finishing ? Cause::kFailed : Cause::kDiverged;
    case Outcome::kFailed:
      return Cause::kFailed;
    case Outcome::kFailedFinally:
      return Cause::kFailedFinally;
    case Outcome::kOutOfMemory:
      return Cause::kOutOfMemory;
    case Outcome::kCheckpointBroken:
      return attempt.from ? Cause::kCheckpointBroken : Cause::kFailed;
    case Outcome::kDeviceLost:
      return Cause::kDeviceLost;
  }
  return Cause::kFailed;
}

void SetCheckpointAside(Turn& turn, CheckpointId id, const std::string& message) {
  Checkpoint& checkpoint = turn.Change(id);
  checkpoint.state = CheckpointState::kBroken;
  turn.Tell({.kind = HistoryKind::kNote,
             .job = checkpoint.job,
             .trial = checkpoint.trial,
             .text = absl::StrCat("checkpoint at step ", checkpoint.step,
                                  " is broken and set aside: ", message)});
}

}  // namespace

void ChangeText(std::string* out, const Change& change) {
  if (change.from.empty()) {
    absl::StrAppend(out, change.path, " = ", change.to);
  } else if (change.to.empty()) {
    absl::StrAppend(out, change.path, " ", change.from, " taken out");
  } else {
    absl::StrAppend(out, change.path, " ", change.from, " -> ", change.to);
  }
}

void On(Turn& turn, const LeaseRenewed& event) {
  const auto worker = turn.state.workers.find(event.claim.worker);
  if (worker == turn.state.workers.end()) return;
  worker->second.live.silent = false;
  worker->second.live.gpu_use = event.gpu_use;
  if (!event.claim.attempt) {
    // Idle. If it was given something, it has not heard of it.
    const AttemptId given = worker->second.attempt;
    if (given && turn.state.attempts.at(given).state == AttemptState::kStarting) {
      SendStart(turn, turn.state.attempts.at(given));
    }
    return;
  }
  const Attempt* attempt = Admit(turn, event.claim);
  if (attempt == nullptr) return;
  NoteProgress(turn, attempt->id, event.step, event.phase);
  turn.Do(GrantLease{event.claim, turn.state.settings.lease_ms});
  SendAdjustment(turn, turn.state.trials.at(attempt->trial));
}

void On(Turn& turn, const EpochReported& event) {
  const Attempt* attempt = Admit(turn, event.claim);
  if (attempt == nullptr) return;
  const TrialId trial = attempt->trial;
  const int done = LiveEpochs(turn.state, trial);
  if (attempt->finishing || event.epoch < 1 || event.epoch > done + 1) return;
  turn.Do(Acknowledge{event.claim, event.sequence});
  if (event.epoch <= done) return;

  const EpochKey key{trial, event.epoch, attempt->id};
  turn.state.epochs[key] = Epoch{.key = key,
                                 .job = attempt->job,
                                 .step = event.step,
                                 .metrics = event.metrics,
                                 .images_per_second = event.images_per_second,
                                 .seconds = event.seconds,
                                 .exact = event.exact,
                                 .reported_wall_ms = turn.wall_ms};
  const Epoch& row = turn.Change(key);
  turn.Change(attempt->id).step = event.step;
  ChargeTime(turn, attempt->id);
  const Target& target = turn.state.jobs.at(row.job).request.target;
  turn.Tell({.kind = HistoryKind::kEpoch,
             .job = row.job,
             .trial = trial,
             .attempt = attempt->id,
             .epoch = key,
             .text = absl::StrCat("epoch ", event.epoch, ": ",
                                  ValueText(target, Value(target, event.metrics)))});
  CompareWithEarlier(turn, row);
  WatchTrial(turn, row);
}

void On(Turn& turn, const CheckpointStored& event) {
  const Attempt* attempt = Admit(turn, event.claim);
  if (attempt == nullptr) return;
  const int done = LiveEpochs(turn.state, attempt->trial);
  if (attempt->finishing || event.epoch > done || event.epoch < 0) return;
  if (!SettleFromReport(turn, attempt->trial, event.adjusted_at, event.step)) return;
  turn.Do(Acknowledge{event.claim, event.sequence});
  if (event.end_of_epoch && event.epoch == 0) return;
  if (Known(turn.state, attempt->trial, event)) return;

  const CheckpointId id = AddCheckpoint(turn, *attempt, event);
  turn.Change(attempt->id).step = event.step;
  turn.Change(attempt->id).progressed = true;
  ChargeTime(turn, attempt->id);
  UpdateBest(turn, attempt->job);
  const Job& job = turn.state.jobs.at(attempt->job);
  const Checkpoint& checkpoint = turn.state.checkpoints.at(id);
  const int64_t epochs = job.request.budget.epochs;
  if (checkpoint.metric && Meets(job.request.target, *checkpoint.metric)) {
    MeetTarget(turn, attempt->trial, id);
  } else if (event.end_of_epoch && epochs > 0 && LiveEpochs(turn.state, job) >= epochs) {
    const TrialId last = attempt->trial;
    EndTrials(turn, job.id, absl::StrCat("the budget of ", epochs, " epochs is spent"));
    DecideNext(turn, job.id, last);
  }
  DropCheckpoints(turn, job.id);
}

void On(Turn& turn, const AttemptEnded& event) {
  const Attempt* attempt = Admit(turn, event.claim);
  if (attempt == nullptr) return;
  const Cause cause = CauseOf(*attempt, event.outcome);
  if (cause == Cause::kEpochsDone) {
    if (!SettleFromReport(turn, attempt->trial, event.adjusted_at, event.step)) return;
    // Whatever it did not hold by then it never will.
    if (Unsettled(turn.state.trials.at(attempt->trial))) DropLastChange(turn, attempt->trial);
    if (EpochsMissing(turn.state, *attempt, event.step)) return;
  }
  turn.Do(Acknowledge{event.claim, event.sequence});
  turn.Change(attempt->id).step = event.step;
  if (!event.confusion.empty() && !attempt->finishing) {
    turn.Change(attempt->trial).confusion = event.confusion;
  }
  if (cause == Cause::kCheckpointBroken &&
      turn.state.checkpoints.at(attempt->from).state == CheckpointState::kSound) {
    SetCheckpointAside(turn, attempt->from, event.message);
    UpdateBest(turn, attempt->job);
  }
  if (cause == Cause::kPreempted && attempt->state != AttemptState::kStopping) {
    // Nobody asked it to stop: its host wants it gone.
    turn.Change(attempt->worker).draining = true;
  }
  if (cause == Cause::kDeviceLost) {
    GiveUpDevice(turn, attempt->worker, absl::StrCat(Name(cause), ": ", event.message));
  }
  const bool silent = cause == Cause::kEpochsDone && event.message.empty();
  FinishAttempt(turn, attempt->id, cause, silent ? "all epochs done" : event.message);
}

void On(Turn& turn, const ProgramReported& event) {
  const Attempt* attempt = Admit(turn, event.claim);
  if (attempt == nullptr) return;
  turn.Do(Acknowledge{event.claim, event.sequence});
  const auto tell = [&](std::string text) {
    turn.Tell({.kind = HistoryKind::kNote,
               .job = attempt->job,
               .trial = attempt->trial,
               .attempt = attempt->id,
               .text = std::move(text)});
  };
  // A resend says nothing new, and each attempt says of its model what the one before said.
  const Trial& before = turn.state.trials.at(attempt->trial);
  if (!event.note.empty() &&
      std::count(before.notes.begin(), before.notes.end(), event.note) == 0) {
    std::vector<std::string>& notes = turn.Change(attempt->trial).notes;
    if (notes.size() == kNotesKept) notes.erase(notes.begin());
    notes.push_back(event.note);
    tell(event.note);
  }
  if (event.description.empty()) return;
  if (before.description == event.description && before.applied == event.applied) return;
  Trial& trial = turn.Change(attempt->trial);
  trial.description = event.description;
  trial.parameters = event.parameters;
  trial.applied = event.applied;
  const std::string changed = absl::StrJoin(event.applied, ", ", ChangeText);
  tell(absl::StrCat("the program's model: ", event.description,
                    changed.empty() ? "" : "; changed: ", changed));
}

void On(Turn& turn, const ModelFinished& event) {
  const Attempt* attempt = Admit(turn, event.claim);
  if (attempt == nullptr || !attempt->finishing) return;
  turn.Do(Acknowledge{event.claim, event.sequence});
  const JobId id = attempt->job;
  Job& job = turn.Change(id);
  job.model = event.model;
  // What was published is what counts, even if the checkpoint itself broke meanwhile.
  job.best = attempt->from;
  job.best_metric = turn.state.checkpoints.at(attempt->from).metric;
  const TrialId trial = attempt->trial;
  DropAttempt(turn, attempt->id, Cause::kPublished, "model published");
  turn.Tell({.kind = HistoryKind::kModelPublished,
             .job = id,
             .trial = trial,
             .text = event.model.test_count > 0
                         ? absl::StrFormat("model published: test accuracy %.4f over %d images",
                                           event.model.test_accuracy, event.model.test_count)
                         : std::string("model published")});
  EndTrial(turn, trial, TrialState::kCompleted, turn.state.trials.at(trial).reason);
  EndJob(turn, id, job.target_met ? JobState::kSucceeded : JobState::kBelowTarget, job.reason);
}

void On(Turn& turn, const CheckpointBroken& event) {
  std::vector<JobId> jobs;
  for (const auto& [id, checkpoint] : turn.state.checkpoints) {
    if (checkpoint.sha256 != event.sha256 || checkpoint.state != CheckpointState::kSound) continue;
    SetCheckpointAside(turn, id, event.message);
    jobs.push_back(checkpoint.job);
  }
  for (const JobId job : jobs) UpdateBest(turn, job);
  // Whoever was to start from it and may not have read it yet starts again, from the one before.
  std::vector<AttemptId> affected;
  for (const auto& [id, attempt] : turn.state.attempts) {
    const bool waits = attempt.state == AttemptState::kQueued && attempt.finishing;
    const auto from = turn.state.checkpoints.find(attempt.from);
    const bool starts = attempt.state == AttemptState::kStarting &&
                        from != turn.state.checkpoints.end() && from->second.sha256 == event.sha256;
    if (starts || (waits && std::count(jobs.begin(), jobs.end(), attempt.job) > 0)) {
      affected.push_back(id);
    }
  }
  for (const AttemptId id : affected) {
    const Attempt& attempt = turn.state.attempts.at(id);
    if (attempt.held()) turn.Do(SupersedeAttempt{attempt.claim(), event.message});
    FinishAttempt(turn, id, Cause::kCheckpointBroken, event.message);
  }
}

}  // namespace trainyard::core
