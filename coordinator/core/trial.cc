// One configuration of a job.
//
//   state      what happens                                        next
//   ---------  --------------------------------------------------  -----------------------------
//   queued     its first attempt is given to a worker              running
//   running    a stored checkpoint meets the target                finishing
//              the epochs of its rung are done                     halted
//              all epochs done, a person's tweak, budget spent     completed
//              the loss is not a number, and no way back           diverged
//              given up, or trying again cannot help               failed
//   halted     promoted                                            queued
//              not among the best                                  completed
//   finishing  the model is published                              completed
//              its checkpoint breaks and no other meets the target running
//   any but    the job is cancelled, fails or is set aside         cancelled
//   the ended
//
// A trial that is going has exactly one attempt that has not ended. When a trial ends without
// meeting the target, the job decides what comes next (DecideNext in job.cc).
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "coordinator/core/ranking.h"
#include "coordinator/core/tuner/changes.h"
#include "coordinator/core/tuning.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

// "conv 3x3 ..., 10 epochs"; "the program with changes.epochs = 10".
std::string Describe(const network::Configuration& configuration) {
  if (!configuration.IsProgram()) {
    const int epochs = configuration.training.epochs;
    return absl::StrCat(network::Describe(configuration.network), ", ", epochs,
                        epochs == 1 ? " epoch" : " epochs");
  }
  const std::vector<Change> changes = Difference({}, configuration);
  if (changes.empty()) return "the program as it is";
  return absl::StrCat("the program with ", absl::StrJoin(changes, ", ", ChangeText));
}

// "; expected +0.0120, came +0.0180".
std::string OutcomeText(const Trial& trial) {
  if (!trial.gained || trial.tweak->expected_gain == 0) return "";
  return absl::StrFormat("; expected %+.4f, came %+.4f", trial.tweak->expected_gain, *trial.gained);
}

}  // namespace

int Trial::epochs() const {
  const int all = current().epochs();
  if (until_epoch == 0) return all;
  return all == 0 ? until_epoch : std::min(until_epoch, all);
}

TrialId StartTrial(Turn& turn, JobId job_id, TrialStart start) {
  Trial& trial = turn.Add(turn.state.trials, &Counters::trial);
  Job& job = turn.Change(job_id);
  job.trials.push_back(trial.id);
  trial.job = job_id;
  trial.number = static_cast<int>(job.trials.size());
  trial.configuration = std::move(start.configuration);
  trial.tweak = std::move(start.tweak);
  trial.inherits = start.inherits;
  trial.until_epoch = start.until_epoch;
  trial.retries_left = turn.state.settings.retries;
  turn.Tell({.kind = HistoryKind::kTrialStarted,
             .job = job_id,
             .trial = trial.id,
             .text = absl::StrCat("trial ", trial.number, ": ", Describe(trial.configuration))});
  QueueAttempt(turn, trial.id, /*finishing=*/false, /*pause_ms=*/0);
  return trial.id;
}

void EndTrial(Turn& turn, TrialId id, TrialState state, std::string reason) {
  Trial& trial = turn.Change(id);
  if (trial.ended()) return;
  DropAttempt(turn, trial.attempt, Cause::kCancelled, reason);
  trial.state = state;
  trial.reason = std::move(reason);
  if (Unsettled(trial)) DropLastChange(turn, id);
  trial.gained = GainOf(turn.state, trial);
  const Job& job = turn.state.jobs.at(trial.job);
  const std::optional<double> best = BestValue(turn.state, job, id);
  turn.Tell({.kind = HistoryKind::kTrialEnded,
             .job = trial.job,
             .trial = id,
             .text = absl::StrCat("trial ", trial.number, " ", Name(state), ": ", trial.reason,
                                  best ? "; best " + ValueText(job.request.target, *best) : "",
                                  OutcomeText(trial))});
  DropCheckpoints(turn, trial.job);
}

void EndTrials(Turn& turn, JobId job, const std::string& reason) {
  const std::vector<TrialId> trials = turn.state.jobs.at(job).trials;
  for (const TrialId id : trials) EndTrial(turn, id, TrialState::kCompleted, reason);
}

void HaltTrial(Turn& turn, TrialId id) {
  Trial& trial = turn.Change(id);
  trial.state = TrialState::kHalted;
  turn.Tell({.kind = HistoryKind::kNote,
             .job = trial.job,
             .trial = id,
             .text = absl::StrCat("trial ", trial.number, " has done ", trial.until_epoch,
                                  trial.until_epoch == 1 ? " epoch" : " epochs",
                                  " and waits: the best go on")});
}

void PromoteTrial(Turn& turn, TrialId id, int until_epoch) {
  Trial& trial = turn.Change(id);
  trial.state = TrialState::kQueued;
  trial.until_epoch = until_epoch;
  turn.Tell({.kind = HistoryKind::kNote,
             .job = trial.job,
             .trial = id,
             .text = absl::StrCat("trial ", trial.number,
                                  " is among the best and goes on to epoch ", trial.epochs())});
  QueueAttempt(turn, id, /*finishing=*/false, /*pause_ms=*/0);
}

void MeetTarget(Turn& turn, TrialId id, CheckpointId checkpoint_id) {
  Trial& trial = turn.Change(id);
  const Checkpoint& checkpoint = turn.state.checkpoints.at(checkpoint_id);
  const Target& target = turn.state.jobs.at(trial.job).request.target;
  const std::string reason =
      absl::StrCat("target met at epoch ", checkpoint.epoch, " of trial ", trial.number, ": ",
                   ValueText(target, *checkpoint.metric), ", wanted ", TargetText(target));
  turn.Tell({.kind = HistoryKind::kTargetMet, .job = trial.job, .trial = id, .text = reason});
  DropAttempt(turn, trial.attempt, Cause::kTargetMet, reason);
  trial.state = TrialState::kFinishing;
  trial.reason = reason;
  if (Unsettled(trial)) DropLastChange(turn, id);
  trial.gained = GainOf(turn.state, trial);
  const std::vector<TrialId> trials = turn.state.jobs.at(trial.job).trials;
  for (const TrialId other : trials) {
    if (other == id) continue;
    EndTrial(turn, other, TrialState::kCompleted,
             absl::StrCat("trial ", trial.number, " met the target"));
  }
  FinishJob(turn, trial.job, /*target_met=*/true, reason);
}

void ResumeTrial(Turn& turn, TrialId id) {
  Trial& trial = turn.Change(id);
  Job& job = turn.Change(trial.job);
  trial.state = TrialState::kRunning;
  trial.reason.clear();
  job.state = JobState::kRunning;
  job.target_met = false;
  job.reason = "the checkpoint that met the target broke; training goes on";
  turn.Tell({.kind = HistoryKind::kNote, .job = job.id, .trial = id, .text = job.reason});
  QueueAttempt(turn, id, /*finishing=*/false, /*pause_ms=*/0);
}

}  // namespace trainyard::core
