// Worker processes that we start ourselves.
//
//   state      what happens                                        next
//   ---------  --------------------------------------------------  --------
//   requested  it was started                                      launched
//   requested, it brought no worker in time; it is needed no more  stopping
//   launched
//   any        it could not be started, or its process ended       over
//
// Launches that bring no worker that works set their host aside for growing pauses (hosts.cc). An
// attempt that no launch brings a worker, or that every host refuses for good, fails its job.
#include <limits>

#include "absl/strings/str_cat.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

// The attempt that it was for has to know: it may be hopeless.
void TellAttempt(Turn& turn, const Launch& launch, LaunchFault fault) {
  const auto found = turn.state.attempts.find(launch.attempt);
  if (found == turn.state.attempts.end() || found->second.state != AttemptState::kQueued) return;
  Attempt& attempt = found->second;
  if (fault == LaunchFault::kLasting) attempt.live.refused[launch.slot.host] = launch.message;
  if (++attempt.live.launches_failed < turn.state.settings.launch_retries) return;
  EndJob(turn, attempt.job, JobState::kFailed,
         absl::StrCat("given up after ", attempt.live.launches_failed,
                      " launches that brought no worker; the last one, on ",
                      Describe(launch.slot.host), ": ", launch.message));
}

void EndLaunch(Turn& turn, LaunchId id, LaunchFault fault, const std::string& message) {
  Launch& launch = turn.Change(id);
  const bool asked =
      launch.state == LaunchState::kStopping && (launch.worker || launch.message.empty());
  launch.state = LaunchState::kOver;
  if (launch.message.empty()) launch.message = message;
  launch.live = {};
  if (asked || launch.proven) return;
  NoteLaunchFailure(turn, launch.slot.host,
                    absl::StrCat("launch ", id.value, " brought no worker: ", launch.message));
  TellAttempt(turn, launch, fault);
}

}  // namespace

void RequestLaunch(Turn& turn, const SlotName& slot, AttemptId attempt) {
  Launch& launch = turn.Add(turn.state.launches, &Counters::launch);
  launch.slot = slot;
  launch.attempt = attempt;
  launch.runtime = turn.state.jobs.at(turn.state.attempts.at(attempt).job).request.needs.runtime;
  launch.live.register_by_ms = RegisterBy(turn.state, launch, turn.now_ms);
  turn.Do(LaunchWorker{launch.id, slot, launch.runtime});
}

int64_t RegisterBy(const State& state, const Launch& launch, int64_t now_ms) {
  const auto pool = state.settings.pools.find(launch.slot.host.pool);
  const bool queues = pool != state.settings.pools.end() && pool->second.queues;
  return queues ? std::numeric_limits<int64_t>::max() : now_ms + state.settings.register_ms;
}

void StopLaunch(Turn& turn, LaunchId id, int64_t grace_ms) {
  const auto found = turn.state.launches.find(id);
  if (found == turn.state.launches.end() || found->second.state >= LaunchState::kStopping) return;
  Launch& launch = turn.Change(id);
  launch.state = LaunchState::kStopping;
  launch.grace_ms = grace_ms;
  turn.Do(StopWorker{id, launch.slot, launch.handle, grace_ms});
}

void On(Turn& turn, const WorkerLaunched& event) {
  const auto found = turn.state.launches.find(event.launch);
  if (found == turn.state.launches.end() || found->second.state == LaunchState::kOver) return;
  if (found->second.handle == event.handle) return;
  Launch& launch = turn.Change(event.launch);
  launch.handle = event.handle;
  if (launch.state == LaunchState::kRequested) {
    launch.state = LaunchState::kLaunched;
  } else if (launch.state == LaunchState::kStopping) {
    // It was told to stop before anybody knew how to find it.
    turn.Do(StopWorker{launch.id, launch.slot, launch.handle, launch.grace_ms});
  }
}

void On(Turn& turn, const WorkerLaunchFailed& event) {
  const auto found = turn.state.launches.find(event.launch);
  if (found == turn.state.launches.end() || found->second.state == LaunchState::kOver) return;
  const WorkerId worker = found->second.worker;
  EndLaunch(turn, event.launch, event.fault, event.message);
  LoseWorker(turn, worker, {.launch = event.launch, .message = event.message});
}

void On(Turn& turn, const WorkerExited& event) {
  const auto found = turn.state.launches.find(event.launch);
  if (found == turn.state.launches.end() || found->second.state == LaunchState::kOver) return;
  const WorkerId worker = found->second.worker;
  EndLaunch(turn, event.launch, LaunchFault::kPassing, event.message);
  LoseWorker(turn, worker, event);
}

void On(Turn& turn, const LaunchStarted& event) {
  const auto found = turn.state.launches.find(event.launch);
  if (found == turn.state.launches.end() || found->second.state == LaunchState::kOver) return;
  found->second.live.register_by_ms = turn.now_ms + turn.state.settings.register_ms;
}

void ProveLaunch(Turn& turn, WorkerId worker_id) {
  const Worker& worker = turn.state.workers.at(worker_id);
  if (!worker.launch || turn.state.launches.at(worker.launch).proven) return;
  turn.Change(worker.launch).proven = true;
  NoteLaunchSuccess(turn, turn.state.launches.at(worker.launch).slot.host);
}

void SuperviseLaunches(Turn& turn) {
  for (const auto& [id, launch] : turn.state.launches) {
    if (launch.worker || launch.state >= LaunchState::kStopping) continue;
    if (turn.now_ms < launch.live.register_by_ms) continue;
    turn.Change(id).message = "no worker registered in time";
    StopLaunch(turn, id, /*grace_ms=*/0);
  }
}

}  // namespace trainyard::core
