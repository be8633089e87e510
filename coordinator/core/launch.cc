// Worker processes that we start ourselves.
//
//   state      what happens                                        next
//   ---------  --------------------------------------------------  --------
//   requested  it was started                                      launched
//   requested, it brought no worker in time; it is needed no more  stopping
//   launched
//   any        it could not be started, or its process ended       over
//
// Launches that bring no worker that works are followed by growing pauses.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

void NoteTrouble(Turn& turn, const Launch& launch) {
  PoolTrouble& trouble = turn.state.pool_troubles[launch.pool];
  ++trouble.failures;
  trouble.message = launch.message;
  const Settings& settings = turn.state.settings;
  int64_t pause_ms = settings.retry_pause_ms;
  for (int i = 1; i < trouble.failures && pause_ms < settings.retry_pause_max_ms; ++i) {
    pause_ms *= 2;
  }
  trouble.not_before_ms = turn.now_ms + std::min(pause_ms, settings.retry_pause_max_ms);
  turn.Tell({.kind = HistoryKind::kNote,
             .text = absl::StrCat("pool ", launch.pool, ": launch ", launch.id.value,
                                  " brought no worker: ", launch.message)});
}

void EndLaunch(Turn& turn, LaunchId id, const std::string& message) {
  Launch& launch = turn.Change(id);
  const bool asked = launch.state == LaunchState::kStopping && launch.worker;
  launch.state = LaunchState::kOver;
  if (launch.message.empty()) launch.message = message;
  launch.live = {};
  if (!asked && !launch.proven) NoteTrouble(turn, launch);
}

}  // namespace

int LaunchesOf(const State& state, const std::string& pool) {
  return static_cast<int>(
      std::count_if(state.launches.begin(), state.launches.end(), [&](const auto& entry) {
        return entry.second.pool == pool && entry.second.state != LaunchState::kOver;
      }));
}

void RequestLaunch(Turn& turn, const std::string& pool) {
  Launch& launch = turn.Add(turn.state.launches, &Counters::launch);
  launch.pool = pool;
  launch.live.register_by_ms = turn.now_ms + turn.state.settings.register_ms;
  turn.Do(LaunchWorker{launch.id, pool});
}

void StopLaunch(Turn& turn, LaunchId id, int64_t grace_ms) {
  const auto found = turn.state.launches.find(id);
  if (found == turn.state.launches.end() || found->second.state >= LaunchState::kStopping) return;
  Launch& launch = turn.Change(id);
  launch.state = LaunchState::kStopping;
  launch.grace_ms = grace_ms;
  turn.Do(StopWorker{id, launch.handle, grace_ms});
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
    turn.Do(StopWorker{launch.id, launch.handle, launch.grace_ms});
  }
}

void On(Turn& turn, const WorkerLaunchFailed& event) {
  const auto found = turn.state.launches.find(event.launch);
  if (found == turn.state.launches.end() || found->second.state == LaunchState::kOver) return;
  const WorkerId worker = found->second.worker;
  EndLaunch(turn, event.launch, event.message);
  LoseWorker(turn, worker, {.launch = event.launch, .message = event.message});
}

void On(Turn& turn, const WorkerExited& event) {
  const auto found = turn.state.launches.find(event.launch);
  if (found == turn.state.launches.end() || found->second.state == LaunchState::kOver) return;
  const WorkerId worker = found->second.worker;
  EndLaunch(turn, event.launch, event.message);
  LoseWorker(turn, worker, event);
}

void ProveLaunch(Turn& turn, WorkerId worker_id) {
  const Worker& worker = turn.state.workers.at(worker_id);
  if (!worker.launch || turn.state.launches.at(worker.launch).proven) return;
  turn.Change(worker.launch).proven = true;
  turn.state.pool_troubles.erase(worker.pool);
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
