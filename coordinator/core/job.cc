// One commit's request.
//
//   state      what happens                                             next
//   ---------  -------------------------------------------------------  -----------------------
//   queued     its first attempt is given to a worker                   running
//   running    a trial ends below the target, the tuner has an idea     running (next trial)
//              ..., and a person is to decide                           waiting
//              the target is met; or the budget, or ideas, are spent    finishing
//              a person has enough, and something was stored            finishing
//              trial 1 fails; nothing was stored that can be published  failed
//   waiting    a person decides                                         running
//              ..., and has enough                                      finishing, failed
//   finishing  the model is published                                   succeeded, below target
//              its checkpoint broke, no other one meets the target      running
//              given up                                                 failed
//   any but    cancelled                                                cancelled
//   the ended  a record of it makes no sense                            failed
//
// Pausing is apart from that: a paused job keeps its state and gets no worker.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "coordinator/core/ranking.h"
#include "coordinator/core/tuner/changes.h"
#include "coordinator/core/tuner/policy.h"
#include "coordinator/core/walk.h"
#include "network/shapes.h"

namespace trainyard::core {
namespace {

std::string Identity(const JobRequest& request, JobId id) {
  const std::string same = absl::StrCat(request.project.value, "/", request.commit, "/",
                                        request.snapshot_sha256, "/", request.spec_hash);
  return request.again ? absl::StrCat(same, "#", id.value) : same;
}

// The job that people mean, or nullptr after telling them that there is none to be changed.
const Job* Find(Turn& turn, RequestId request, JobId id) {
  const auto job = turn.state.jobs.find(id);
  if (job == turn.state.jobs.end() && id.value >= 1 && id.value <= turn.state.counters.job) {
    turn.Refuse(request, absl::StatusCode::kFailedPrecondition,
                absl::StrCat("job ", id.value, " has ended"));
  } else if (job == turn.state.jobs.end()) {
    turn.Refuse(request, absl::StatusCode::kNotFound, absl::StrCat("no job ", id.value));
  } else if (job->second.ended()) {
    turn.Refuse(request, absl::StatusCode::kFailedPrecondition,
                absl::StrCat("job ", id.value, " has ended: ", Name(job->second.state)));
  } else {
    return &job->second;
  }
  return nullptr;
}

// Why no further trial may start; empty: one may.
std::string Spent(const State& state, const Job& job) {
  const Budget& budget = job.request.budget;
  if (budget.time_ms > 0 && TrainingTime(state, job) >= budget.time_ms) {
    return absl::StrFormat("the budget of %.0f s is spent", budget.time_ms / 1000.0);
  }
  if (budget.epochs > 0 && LiveEpochs(state, job) >= budget.epochs) {
    return absl::StrCat("the budget of ", budget.epochs, " epochs is spent");
  }
  return "";
}

// Why the tuner may not start another trial; empty: it may.
std::string TuningSpent(const Job& job) {
  const int trials = static_cast<int>(job.trials.size());
  for (const int limit : {job.request.budget.trials, job.request.tuning.max_trials}) {
    if (limit > 0 && trials >= limit) {
      return absl::StrCat("the budget of ", limit, limit == 1 ? " trial" : " trials", " is spent");
    }
  }
  if (!job.request.tuning.enabled) {
    return job.request.configuration.IsProgram()
               ? "tuning is off, or the program takes no changes from outside"
               : "tuning is off";
  }
  return "";
}

TrialHistory HistoryOf(const State& state, const Trial& trial) {
  TrialHistory history{.number = trial.number, .configuration = trial.configuration};
  history.inherited = static_cast<bool>(trial.inherits);
  if (trial.state == TrialState::kDiverged) history.result = TrialResult::kDiverged;
  if (trial.state == TrialState::kFailed) {
    history.result = state.attempts.at(trial.attempt).cause == Cause::kOutOfMemory
                         ? TrialResult::kOutOfMemory
                         : TrialResult::kFailed;
  }
  for (int epoch = 1; const Epoch* row = LiveRow(state, trial.id, epoch); ++epoch) {
    history.epochs.push_back(row->metrics);
  }
  return history;
}

TuningTask TaskOf(const State& state, const Job& job) {
  TuningTask task{.target = job.request.target,
                  .limits = job.request.tuning,
                  .last = static_cast<int>(job.trials.size()),
                  .train_images = job.request.train_images};
  for (const TrialId id : job.trials) task.trials.push_back(HistoryOf(state, state.trials.at(id)));
  if (job.request.budget.epochs > 0) {
    task.epochs_left = job.request.budget.epochs - LiveEpochs(state, job);
  }
  return task;
}

// What a trial built on this one starts from; none: from fresh weights.
CheckpointId WeightsOf(const State& state, TrialId trial) {
  const Checkpoint* weights = WeightsOf(state, state.trials.at(trial));
  return weights != nullptr ? weights->id : CheckpointId{};
}

// "best val_accuracy 0.8810 misses val_accuracy >= 0.92 by 0.0390: tuning is off".
std::string MissedText(const State& state, const Job& job, const std::string& why) {
  const Target& target = job.request.target;
  const Checkpoint* best = BestOfJob(state, job);
  if (best == nullptr) return why;
  return absl::StrFormat("best %s misses %s by %.4f: %s", ValueText(target, *best->metric),
                         TargetText(target), std::abs(target.bound - *best->metric), why);
}

// A failure that another configuration would meet too.
bool FailsForGood(const State& state, const Job& job) {
  const auto failed = [&](TrialId id) {
    const Trial& trial = state.trials.at(id);
    return trial.state == TrialState::kFailed &&
           state.attempts.at(trial.attempt).cause != Cause::kOutOfMemory;
  };
  if (!failed(job.trials.back())) return false;
  return job.trials.size() == 1 || failed(job.trials[job.trials.size() - 2]);
}

void TellDiagnosis(Turn& turn, const Job& job, const Finding& finding) {
  turn.Tell({.kind = HistoryKind::kDiagnosis,
             .job = job.id,
             .trial = job.trials.back(),
             .text = absl::StrCat(FindingName(finding.kind), ": ", finding.text)});
}

void StartProposal(Turn& turn, JobId id, const Proposal& proposal, CheckpointId inherits) {
  Job& job = turn.Change(id);
  job.state = JobState::kRunning;
  job.reason.clear();
  job.proposal.reset();
  const TrialId trial = StartTrial(turn, id, proposal.configuration, proposal.tweak, inherits);
  turn.Tell({.kind = HistoryKind::kTweak,
             .job = id,
             .trial = trial,
             .text = absl::StrCat(proposal.tweak.reason, ": ",
                                  absl::StrJoin(proposal.tweak.changes, ", ", ChangeText))});
}

void Wait(Turn& turn, JobId id, std::optional<Proposal> proposal, CheckpointId inherits,
          const std::string& why) {
  Job& job = turn.Change(id);
  job.state = JobState::kWaiting;
  job.reason = why;
  job.proposal = std::move(proposal);
  job.proposal_inherits = inherits;
  turn.Tell({.kind = HistoryKind::kWaiting, .job = id, .trial = job.trials.back(), .text = why});
}

// The problems of a person's configuration, one a line; empty: none.
std::string ProblemsOf(const State& state, const Job& job,
                       const network::Configuration& configuration) {
  std::vector<network::Problem> problems;
  if (configuration.IsProgram()) {
    problems = network::CheckChanges(configuration.changes);
  } else {
    problems = network::CheckNetwork(configuration.network);
    if (problems.empty()) {
      problems = network::CheckTraining(configuration.training, configuration.network);
    }
  }
  for (const TrialId id : job.trials) {
    const Trial& trial = state.trials.at(id);
    if (trial.configuration != configuration) continue;
    return absl::StrCat("the same as trial ", trial.number, ": nothing would change");
  }
  return absl::StrJoin(problems, "\n", [](std::string* out, const network::Problem& problem) {
    absl::StrAppend(out, problem.path, ": ", problem.message);
  });
}

Proposal ByPerson(const State& state, const Job& job, const network::Configuration& wanted) {
  Proposal proposal{.configuration = wanted};
  const Trial& last = state.trials.at(job.trials.back());
  proposal.tweak = {.finding = {.kind = FindingKind::kManual, .text = "a person decided"},
                    .reason = "a person decided",
                    .changes = Difference(last.configuration, wanted)};
  return proposal;
}

}  // namespace

Created CreateJob(Turn& turn, const JobRequest& request) {
  if (!request.request_key.empty()) {
    const auto known = turn.state.request_keys.find(request.request_key);
    if (known != turn.state.request_keys.end()) return {known->second, true};
  }
  const auto same = turn.state.identities.find(Identity(request, JobId{}));
  if (!request.again && same != turn.state.identities.end()) return {same->second, true};

  Job& job = turn.Add(turn.state.jobs, &Counters::job);
  job.request = request;
  job.identity = Identity(request, job.id);
  job.retries_left = turn.state.settings.retries;
  job.created_wall_ms = turn.wall_ms;
  turn.state.identities[job.identity] = job.id;
  if (!request.request_key.empty()) turn.state.request_keys[request.request_key] = job.id;
  turn.Tell({.kind = HistoryKind::kJobCreated,
             .project = request.project,
             .job = job.id,
             .text = absl::StrCat("job ", job.id.value, " ", request.name, ": wanted ",
                                  TargetText(request.target))});
  StartTrial(turn, job.id, request.configuration, std::nullopt, CheckpointId{});
  return {job.id, false};
}

void DecideNext(Turn& turn, JobId id) {
  const Job& job = turn.state.jobs.at(id);
  if (FailsForGood(turn.state, job)) {
    const std::string& reason = turn.state.trials.at(job.trials.back()).reason;
    if (job.trials.size() == 1) return EndJob(turn, id, JobState::kFailed, reason);
    return FinishJob(turn, id, false, MissedText(turn.state, job, reason));
  }
  if (const std::string spent = Spent(turn.state, job); !spent.empty()) {
    return FinishJob(turn, id, false, MissedText(turn.state, job, spent));
  }
  if (job.decided) {
    const Proposal decided = *job.decided;
    turn.Change(id).decided.reset();
    return StartProposal(turn, id, decided, WeightsOf(turn.state, job.trials.back()));
  }
  std::string why = TuningSpent(job);
  if (!why.empty() && !job.request.manual) {
    return FinishJob(turn, id, false, MissedText(turn.state, job, why));
  }
  const Advice advice = PolicyOf(job.request.tuning.algorithm).Propose(TaskOf(turn.state, job), 1);
  TellDiagnosis(turn, job, advice.finding);
  if (advice.next.empty() || !why.empty()) {
    if (why.empty()) why = advice.stop;
    if (job.request.manual) return Wait(turn, id, std::nullopt, CheckpointId{}, why);
    return FinishJob(turn, id, false, MissedText(turn.state, job, why));
  }
  const NextTrial& next = advice.next.front();
  const Proposal proposal{.tweak = next.tweak, .configuration = next.configuration};
  const CheckpointId inherits =
      !next.inherit ? CheckpointId{} : WeightsOf(turn.state, job.trials.at(next.base - 1));
  if (job.request.manual) return Wait(turn, id, proposal, inherits, next.tweak.reason);
  StartProposal(turn, id, proposal, inherits);
}

void FinishJob(Turn& turn, JobId id, bool target_met, std::string reason) {
  const Checkpoint* best = BestOfJob(turn.state, turn.state.jobs.at(id));
  if (best == nullptr) {
    return EndJob(turn, id, JobState::kFailed,
                  absl::StrCat(reason, "; no checkpoint was stored that could be published"));
  }
  Job& job = turn.Change(id);
  job.state = JobState::kFinishing;
  job.target_met = target_met;
  job.reason = std::move(reason);
  job.proposal.reset();
  job.decided.reset();
  turn.Tell({.kind = HistoryKind::kFinishing,
             .job = id,
             .trial = best->trial,
             .text = absl::StrCat("the checkpoint at step ", best->step, " of trial ",
                                  turn.state.trials.at(best->trial).number,
                                  " is tested and published: ", job.reason)});
  QueueAttempt(turn, best->trial, /*finishing=*/true, /*pause_ms=*/0);
}

void EndJob(Turn& turn, JobId id, JobState state, std::string reason) {
  Job& job = turn.Change(id);
  if (job.ended()) return;
  job.state = state;
  job.reason = std::move(reason);
  job.ended_wall_ms = turn.wall_ms;
  job.proposal.reset();
  job.decided.reset();
  for (const TrialId trial_id : job.trials) {
    // A finishing attempt may hang on a trial that has ended.
    DropAttempt(turn, turn.state.trials.at(trial_id).attempt, Cause::kCancelled, job.reason);
    EndTrial(turn, trial_id, TrialState::kCancelled, job.reason);
  }
  DropCheckpoints(turn, id);
  const std::string text = absl::StrCat("job ", id.value, " ", Name(state), ": ", job.reason);
  turn.Tell(
      {.kind = HistoryKind::kJobEnded, .project = job.request.project, .job = id, .text = text});
  Notice& notice = turn.Add(turn.state.notices, &Counters::notice);
  notice.job = id;
  notice.text = text;
  turn.Do(Notify{notice.id, id, text});
}

void On(Turn& turn, const JobSubmitted& event) {
  const Created created = CreateJob(turn, event.job);
  turn.Accept(event.request, created.job.value, created.existed);
}

void On(Turn& turn, const JobCancelled& event) {
  if (Find(turn, event.request, event.job) == nullptr) return;
  EndJob(turn, event.job, JobState::kCancelled, "cancelled by a person");
  turn.Accept(event.request, event.job.value);
}

void On(Turn& turn, const JobConcluded& event) {
  const Job* job = Find(turn, event.request, event.job);
  if (job == nullptr) return;
  if (job->state != JobState::kFinishing) {
    if (job->state != JobState::kWaiting && BestOfJob(turn.state, *job) == nullptr) {
      return turn.Refuse(event.request, absl::StatusCode::kFailedPrecondition,
                         "no checkpoint was stored yet that could be published");
    }
    const std::string why = "ended by a person";
    EndTrial(turn, job->trials.back(), TrialState::kCompleted, why);
    FinishJob(turn, event.job, /*target_met=*/false, MissedText(turn.state, *job, why));
  }
  turn.Change(event.job).paused = false;
  turn.Accept(event.request, event.job.value);
}

void On(Turn& turn, const JobPaused& event) {
  const Job* job = Find(turn, event.request, event.job);
  if (job == nullptr) return;
  if (!job->paused) {
    turn.Change(event.job).paused = true;
    StopAttemptFor(turn, turn.state.trials.at(job->trials.back()).attempt, Cause::kPaused,
                   "the job is paused");
    if (job->best && job->state == JobState::kFinishing) {
      const TrialId trial = turn.state.checkpoints.at(job->best).trial;
      StopAttemptFor(turn, turn.state.trials.at(trial).attempt, Cause::kPaused,
                     "the job is paused");
    }
    turn.Tell({.kind = HistoryKind::kNote, .job = event.job, .text = "paused by a person"});
  }
  turn.Accept(event.request, event.job.value);
}

void On(Turn& turn, const JobResumed& event) {
  const Job* job = Find(turn, event.request, event.job);
  if (job == nullptr) return;
  if (job->paused) {
    turn.Change(event.job).paused = false;
    turn.Tell({.kind = HistoryKind::kNote, .job = event.job, .text = "resumed by a person"});
  }
  turn.Accept(event.request, event.job.value);
}

void On(Turn& turn, const TweakRequested& event) {
  const Job* job = Find(turn, event.request, event.job);
  if (job == nullptr) return;
  if (job->state == JobState::kFinishing) {
    return turn.Refuse(event.request, absl::StatusCode::kFailedPrecondition,
                       "training is over: the best checkpoint is being published");
  }
  if (!event.configuration && !job->proposal) {
    return turn.Refuse(event.request, absl::StatusCode::kFailedPrecondition,
                       "there is no proposal to accept; say what to change");
  }
  const bool as_proposed = job->proposal && (!event.configuration ||
                                             *event.configuration == job->proposal->configuration);
  if (!as_proposed) {
    const std::string problems = ProblemsOf(turn.state, *job, *event.configuration);
    if (!problems.empty()) {
      return turn.Refuse(event.request, absl::StatusCode::kInvalidArgument, problems);
    }
  }
  const Proposal proposal =
      as_proposed ? *job->proposal : ByPerson(turn.state, *job, *event.configuration);
  turn.Accept(event.request, event.job.value);
  if (job->state == JobState::kWaiting) {
    const CheckpointId inherits =
        job->proposal ? job->proposal_inherits : WeightsOf(turn.state, job->trials.back());
    return StartProposal(turn, event.job, proposal, inherits);
  }
  turn.Change(event.job).decided = proposal;
  StopAttemptFor(turn, turn.state.trials.at(job->trials.back()).attempt, Cause::kTweaked,
                 "stopped for a person's tweak");
}

const network::Configuration& BaseForTweak(const State& state, const Job& job) {
  if (job.proposal) return job.proposal->configuration;
  return state.trials.at(job.trials.back()).configuration;
}

int64_t TrainingTime(const State& state, const Job& job) {
  int64_t time_ms = 0;
  for (const TrialId id : job.trials) {
    const Trial& trial = state.trials.at(id);
    time_ms += trial.training_ms;
    const Attempt& attempt = state.attempts.at(trial.attempt);
    if (!attempt.ended()) time_ms += attempt.live.training_ms;
  }
  return time_ms;
}

}  // namespace trainyard::core
