// The coordinator's own start and end.
//
// There is no list of effects to be done: each follows from a record that says so, and is done when
// that record says otherwise. Recovery reads the records and asks for what they still want. What
// goes over a session waits for the worker to connect (worker.cc).
#include "coordinator/core/invariants.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

// A full lease, pause and limit from now on; nobody is known to be there.
void RestartTimers(State& state, int64_t now_ms) {
  const Settings& settings = state.settings;
  for (auto& [id, attempt] : state.attempts) {
    attempt.live = {};
    if (attempt.state == AttemptState::kQueued) {
      attempt.live.not_before_ms = now_ms + attempt.pause_ms;
    } else if (attempt.held()) {
      attempt.live.expires_ms = now_ms + settings.lease_ms;
      attempt.live.stop_by_ms = now_ms + settings.stop_grace_ms + settings.lease_ms;
      attempt.live.step = attempt.step;
      attempt.live.progress_ms = now_ms;
      attempt.live.charged_ms = now_ms;
    }
  }
  for (auto& [id, worker] : state.workers) worker.live = {.since_ms = now_ms};
  for (auto& [id, launch] : state.launches) {
    launch.live = {.register_by_ms = RegisterBy(state, launch, now_ms)};
  }
}

// What a worker holds is what an attempt says it holds.
void FreeIdleHands(Turn& turn) {
  for (const auto& [id, worker] : turn.state.workers) {
    if (worker.state != WorkerState::kBusy) continue;
    const auto attempt = turn.state.attempts.find(worker.attempt);
    const bool holds = attempt != turn.state.attempts.end() && attempt->second.held() &&
                       attempt->second.worker == id;
    if (!holds) FreeWorker(turn, id);
  }
}

void AskAgain(Turn& turn) {
  const State& state = turn.state;
  for (const auto& [id, push] : state.pushes) {
    if (push.state == PushState::kPreparing) {
      turn.Do(PrepareSource{id, push.project, push.commit});
    }
  }
  for (const auto& [id, launch] : state.launches) {
    if (launch.state == LaunchState::kRequested)
      turn.Do(LaunchWorker{id, launch.slot, launch.runtime});
    if (launch.state == LaunchState::kLaunched || launch.state == LaunchState::kStopping) {
      turn.Do(AdoptWorker{id, launch.slot, launch.handle});
    }
    if (launch.state == LaunchState::kStopping) {
      turn.Do(StopWorker{id, launch.slot, launch.handle, launch.grace_ms});
    }
  }
  turn.Do(RemoveStrays{});
  for (const auto& [id, checkpoint] : state.checkpoints) {
    if (checkpoint.state == CheckpointState::kDropping) {
      turn.Do(DropCheckpoint{id, checkpoint.sha256});
    }
  }
  for (const auto& [id, notice] : state.notices) {
    if (!notice.sent) turn.Do(Notify{id, notice.job, notice.text});
  }
}

}  // namespace

void On(Turn& turn, const CoordinatorRecovered& event) {
  turn.state.shutting_down = false;
  turn.state.hosts.clear();
  Forget(turn.state);
  std::vector<std::pair<JobId, std::string>> broken;
  for (const auto& [id, job] : turn.state.jobs) {
    if (const auto found = event.unreadable.find(id); found != event.unreadable.end()) {
      broken.emplace_back(id, found->second);
      continue;
    }
    const std::vector<std::string> violations = CheckJob(turn.state, job);
    if (!violations.empty()) broken.emplace_back(id, violations.front());
  }
  for (const auto& [id, violation] : broken) SetAside(turn, id, violation);
  RestartTimers(turn.state, turn.now_ms);
  FreeIdleHands(turn);
  AskAgain(turn);
}

void On(Turn& turn, const ShutdownRequested&) {
  turn.state.shutting_down = true;
  for (const auto& [id, attempt] : turn.state.attempts) {
    if (attempt.held()) StopAttemptFor(turn, id, Cause::kShutdown, "the coordinator shuts down");
  }
}

void ContinueShutdown(Turn& turn) {
  bool quiet = true;
  for (const auto& [id, attempt] : turn.state.attempts) quiet = quiet && !attempt.held();
  for (const auto& [id, launch] : turn.state.launches) {
    if (launch.state == LaunchState::kOver) continue;
    quiet = false;
    const auto worker = turn.state.workers.find(launch.worker);
    if (worker == turn.state.workers.end() || !worker->second.attempt) {
      StopLaunch(turn, id, turn.state.settings.lease_ms);
    }
  }
  if (quiet) turn.Do(Quit{});
}

void On(Turn& turn, const NoticeSent& event) {
  const auto found = turn.state.notices.find(event.notice);
  if (found == turn.state.notices.end() || found->second.sent) return;
  turn.Change(event.notice).sent = true;
  if (!event.trouble.empty()) {
    turn.Tell({.kind = HistoryKind::kNote, .job = found->second.job, .text = event.trouble});
  }
}

void SetAside(Turn& turn, JobId id, const std::string& violation) {
  // Touches nothing that has to make sense: other records of the job may be as wrong.
  Job& job = turn.Change(id);
  job.state = JobState::kFailed;
  job.reason = "set aside, its records make no sense: " + violation;
  job.ended_wall_ms = turn.wall_ms;
  for (auto& [attempt_id, attempt] : turn.state.attempts) {
    if (attempt.job != id || attempt.ended()) continue;
    if (attempt.held()) turn.Do(SupersedeAttempt{attempt.claim(), job.reason});
    turn.Change(attempt_id).state = AttemptState::kStopped;
    attempt.cause = Cause::kSetAside;
    attempt.live = {};
  }
  FreeIdleHands(turn);
  for (auto& [trial_id, trial] : turn.state.trials) {
    if (trial.job == id && !trial.ended()) turn.Change(trial_id).state = TrialState::kCancelled;
  }
  turn.Tell({.kind = HistoryKind::kJobEnded, .job = id, .text = job.reason});
  Notice& notice = turn.Add(turn.state.notices, &Counters::notice);
  notice.job = id;
  notice.text = job.reason;
  turn.Do(Notify{notice.id, id, job.reason});
}

}  // namespace trainyard::core
