// Who holds an attempt, and does it get on? Looked at whenever time passes.
//
// Alive is not making progress: a worker may renew its lease while its training thread hangs.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

constexpr size_t kStepsRemembered = 15;

// How long the attempt may go without progress.
int64_t ProgressLimit(const Settings& settings, const Attempt& attempt) {
  if (attempt.live.phase != Phase::kTraining) return settings.phase_limit_ms;
  return std::max(settings.stalled_ms,
                  settings.stalled_steps * MedianStepUs(attempt.live.step_us) / 1000);
}

// The worker cannot be trusted with anything else: ours is ended, another one must show itself.
void TakeAway(Turn& turn, AttemptId id, Cause cause, const std::string& message) {
  const Attempt& attempt = turn.state.attempts.at(id);
  const WorkerId worker_id = attempt.worker;
  turn.Do(SupersedeAttempt{attempt.claim(), message});
  FinishAttempt(turn, id, cause, message);
  Worker& worker = turn.state.workers.at(worker_id);
  worker.live.silent = true;
  if (worker.launch || cause == Cause::kStalled) {
    RemoveWorker(turn, worker_id, message, /*grace_ms=*/0);
  }
}

void SuperviseAttempt(Turn& turn, const Attempt& attempt) {
  const Settings& settings = turn.state.settings;
  const int64_t quiet_ms = turn.now_ms - attempt.live.progress_ms;
  const int64_t limit_ms = ProgressLimit(settings, attempt);
  if (turn.now_ms >= attempt.live.expires_ms) {
    TakeAway(turn, attempt.id, Cause::kLeaseExpired,
             absl::StrFormat("nothing heard for %.1f s", settings.lease_ms / 1000.0));
  } else if (attempt.state == AttemptState::kStopping) {
    if (turn.now_ms < attempt.live.stop_by_ms) return;
    TakeAway(turn, attempt.id, attempt.cause,
             absl::StrFormat("did not stop within %.0f s", settings.stop_grace_ms / 1000.0));
  } else if (quiet_ms >= limit_ms) {
    TakeAway(
        turn, attempt.id, Cause::kStalled,
        absl::StrFormat("no progress for %.0f s at step %d", quiet_ms / 1000.0, attempt.live.step));
  }
}

// The budget of time ends a trial in the middle; what it stored so far counts.
void SuperviseBudget(Turn& turn, const Job& job) {
  const int64_t limit_ms = job.request.budget.time_ms;
  if (limit_ms <= 0 || job.state != JobState::kRunning) return;
  if (TrainingTime(turn.state, job) < limit_ms) return;
  EndTrials(turn, job.id, absl::StrFormat("the budget of %.0f s is spent", limit_ms / 1000.0));
  DecideNext(turn, job.id, job.trials.back());
}

template <typename Key, typename Record, typename Wanted>
std::vector<Key> Select(const std::map<Key, Record>& records, Wanted wanted) {
  std::vector<Key> selected;
  for (const auto& [id, record] : records) {
    if (wanted(record)) selected.push_back(id);
  }
  return selected;
}

}  // namespace

int64_t MedianStepUs(std::vector<int64_t> step_us) {
  if (step_us.empty()) return 0;
  const auto middle = step_us.begin() + static_cast<int64_t>(step_us.size() / 2);
  std::nth_element(step_us.begin(), middle, step_us.end());
  return *middle;
}

void NoteProgress(Turn& turn, AttemptId id, int64_t step, Phase phase) {
  Attempt::Live& live = turn.state.attempts.at(id).live;
  if (step > live.step && phase == Phase::kTraining && live.phase == Phase::kTraining) {
    const int64_t took_us = (turn.now_ms - live.progress_ms) * 1000 / (step - live.step);
    if (live.step_us.size() == kStepsRemembered) live.step_us.erase(live.step_us.begin());
    live.step_us.push_back(took_us);
  }
  if (step > live.step || phase != live.phase) live.progress_ms = turn.now_ms;
  live.step = std::max(live.step, step);
  live.phase = phase;
}

void Supervise(Turn& turn) {
  const auto held = [](const Attempt& attempt) { return attempt.held(); };
  for (const AttemptId id : Select(turn.state.attempts, held)) {
    const Attempt& attempt = turn.state.attempts.at(id);
    if (attempt.held()) SuperviseAttempt(turn, attempt);
  }
  const auto running = [](const Job& job) { return !job.ended(); };
  for (const JobId id : Select(turn.state.jobs, running)) {
    SuperviseBudget(turn, turn.state.jobs.at(id));
  }
}

void On(Turn& turn, const TimePassed&) {
  Supervise(turn);
  SuperviseWorkers(turn);
  SuperviseLaunches(turn);
}

}  // namespace trainyard::core
