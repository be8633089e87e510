// One configuration of a job.
//
//   state      what happens                                        next
//   ---------  --------------------------------------------------  -----------------------------
//   queued     its first attempt is given to a worker              running
//   running    a stored checkpoint meets the target                finishing
//              all epochs done, a person's tweak, budget spent     completed
//              the loss is not a number                            diverged
//              given up, or trying again cannot help               failed
//   finishing  the model is published                              completed
//              its checkpoint breaks and no other meets the target running
//   any but    the job is cancelled, fails or is set aside         cancelled
//   the ended
//
// A trial that has not ended has exactly one attempt that has not ended. When a trial ends without
// meeting the target, the job decides what comes next (DecideNext in job.cc).
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/core/ranking.h"
#include "coordinator/core/tuner/changes.h"
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

}  // namespace

TrialId StartTrial(Turn& turn, JobId job_id, const network::Configuration& configuration,
                   std::optional<Tweak> tweak, CheckpointId inherits) {
  Trial& trial = turn.Add(turn.state.trials, &Counters::trial);
  Job& job = turn.Change(job_id);
  job.trials.push_back(trial.id);
  trial.job = job_id;
  trial.number = static_cast<int>(job.trials.size());
  trial.configuration = configuration;
  trial.tweak = std::move(tweak);
  trial.inherits = inherits;
  trial.retries_left = turn.state.settings.retries;
  turn.Tell({.kind = HistoryKind::kTrialStarted,
             .job = job_id,
             .trial = trial.id,
             .text = absl::StrCat("trial ", trial.number, ": ", Describe(configuration))});
  QueueAttempt(turn, trial.id, /*finishing=*/false, /*pause_ms=*/0);
  return trial.id;
}

void EndTrial(Turn& turn, TrialId id, TrialState state, std::string reason) {
  Trial& trial = turn.Change(id);
  if (trial.ended()) return;
  DropAttempt(turn, trial.attempt, Cause::kCancelled, reason);
  trial.state = state;
  trial.reason = std::move(reason);
  const Job& job = turn.state.jobs.at(trial.job);
  const std::optional<double> best = BestValue(turn.state, job, id);
  turn.Tell({.kind = HistoryKind::kTrialEnded,
             .job = trial.job,
             .trial = id,
             .text = absl::StrCat("trial ", trial.number, " ", Name(state), ": ", trial.reason,
                                  best ? "; best " + ValueText(job.request.target, *best) : "")});
  DropCheckpoints(turn, trial.job);
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
