// One commit's request.
//
//   state      what happens                                             next
//   ---------  -------------------------------------------------------  -----------------------
//   queued     its first attempt is given to a worker                   running
//   running    a trial ends below the target, the tuner has an idea     running (next trials)
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
#include "absl/strings/str_cat.h"
#include "coordinator/core/ranking.h"
#include "coordinator/core/tuner/policy.h"
#include "coordinator/core/tuning.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

std::string Identity(const JobRequest& request, JobId id) {
  const std::string same = absl::StrCat(request.project.value, "/", request.commit, "/",
                                        request.snapshot_sha256, "/", request.spec_hash);
  return request.again ? absl::StrCat(same, "#", id.value) : same;
}

}  // namespace

const Job* FindJob(Turn& turn, RequestId request, JobId id) {
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
  const TuningLimits& tuning = request.tuning;
  const int rung = tuning.enabled ? PolicyOf(tuning.algorithm).FirstRung(tuning) : 0;
  StartTrial(turn, job.id, {.configuration = request.configuration, .until_epoch = rung});
  FillUp(turn, job.id, /*last=*/{});
  return {job.id, false};
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
  if (FindJob(turn, event.request, event.job) == nullptr) return;
  EndJob(turn, event.job, JobState::kCancelled, "cancelled by a person");
  turn.Accept(event.request, event.job.value);
}

void On(Turn& turn, const JobConcluded& event) {
  const Job* job = FindJob(turn, event.request, event.job);
  if (job == nullptr) return;
  if (job->state != JobState::kFinishing) {
    if (job->state != JobState::kWaiting && BestOfJob(turn.state, *job) == nullptr) {
      return turn.Refuse(event.request, absl::StatusCode::kFailedPrecondition,
                         "no checkpoint was stored yet that could be published");
    }
    const std::string why = "ended by a person";
    EndTrials(turn, event.job, why);
    FinishJob(turn, event.job, /*target_met=*/false, MissedText(turn.state, *job, why));
  }
  turn.Change(event.job).paused = false;
  turn.Accept(event.request, event.job.value);
}

void On(Turn& turn, const JobPaused& event) {
  const Job* job = FindJob(turn, event.request, event.job);
  if (job == nullptr) return;
  if (!job->paused) {
    turn.Change(event.job).paused = true;
    for (const TrialId trial : Going(turn.state, *job)) {
      StopAttemptFor(turn, turn.state.trials.at(trial).attempt, Cause::kPaused,
                     "the job is paused");
    }
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
  const Job* job = FindJob(turn, event.request, event.job);
  if (job == nullptr) return;
  if (job->paused) {
    turn.Change(event.job).paused = false;
    turn.Tell({.kind = HistoryKind::kNote, .job = event.job, .text = "resumed by a person"});
  }
  turn.Accept(event.request, event.job.value);
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
