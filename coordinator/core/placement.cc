// Who trains what. First come, first served: the oldest job's attempt gets the first idle worker.
// A worker has one slot. What finds none makes its pool launch a worker, up to the pool's limit.
#include <algorithm>
#include <map>

#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

bool Fits(const Job& job, const std::string& pool) {
  return job.request.needs.pool.empty() || job.request.needs.pool == pool;
}

// Brought by a launch that is to end, or not by a launch at all.
bool Leaving(const State& state, const Worker& worker) {
  if (worker.draining) return true;
  const auto launch = state.launches.find(worker.launch);
  return launch != state.launches.end() && launch->second.state >= LaunchState::kStopping;
}

bool Free(const State& state, const Worker& worker) {
  return worker.state == WorkerState::kIdle && worker.live.connected && !worker.live.silent &&
         !Leaving(state, worker);
}

// Queued attempts whose time has come by then, oldest job first.
std::vector<AttemptId> Ready(const State& state, int64_t by_ms) {
  std::vector<std::pair<JobId, AttemptId>> ready;
  for (const auto& [id, attempt] : state.attempts) {
    if (attempt.state != AttemptState::kQueued || attempt.live.not_before_ms > by_ms) continue;
    if (!state.jobs.at(attempt.job).paused) ready.emplace_back(attempt.job, id);
  }
  std::sort(ready.begin(), ready.end());
  std::vector<AttemptId> ids;
  for (const auto& entry : ready) ids.push_back(entry.second);
  return ids;
}

WorkerId FindFree(const State& state, const Job& job) {
  for (const auto& [id, worker] : state.workers) {
    if (Free(state, worker) && Fits(job, worker.pool)) return id;
  }
  return {};
}

// Launches that will bring an idle worker soon, by pool.
std::map<std::string, int> Coming(const State& state) {
  std::map<std::string, int> coming;
  for (const auto& [id, launch] : state.launches) {
    if (launch.state >= LaunchState::kStopping) continue;
    const auto worker = state.workers.find(launch.worker);
    const bool expected = worker == state.workers.end() ||
                          (worker->second.state == WorkerState::kIdle && !worker->second.draining);
    if (expected) ++coming[launch.pool];
  }
  return coming;
}

// A worker that is coming will do; else one is launched where there is room.
void Provide(Turn& turn, const Job& job, std::map<std::string, int>& coming) {
  for (auto& [pool, workers] : coming) {
    if (workers == 0 || !Fits(job, pool)) continue;
    --workers;
    return;
  }
  for (const auto& [pool, limit] : turn.state.settings.pools) {
    if (!Fits(job, pool) || LaunchesOf(turn.state, pool) >= limit) continue;
    const auto trouble = turn.state.pool_troubles.find(pool);
    const bool pausing =
        trouble != turn.state.pool_troubles.end() && trouble->second.not_before_ms > turn.now_ms;
    if (!pausing) return RequestLaunch(turn, pool);
  }
}

}  // namespace

void Place(Turn& turn) {
  if (turn.state.shutting_down) return;
  for (const AttemptId id : Ready(turn.state, turn.now_ms)) {
    const Job& job = turn.state.jobs.at(turn.state.attempts.at(id).job);
    if (const WorkerId worker = FindFree(turn.state, job)) GiveAttempt(turn, id, worker);
  }
  // A worker takes its time to come: what is ready in a moment needs one now.
  const int64_t soon_ms = turn.now_ms + turn.state.settings.retry_pause_ms;
  std::map<std::string, int> coming = Coming(turn.state);
  for (const AttemptId id : Ready(turn.state, soon_ms)) {
    const Job& job = turn.state.jobs.at(turn.state.attempts.at(id).job);
    if (!FindFree(turn.state, job)) Provide(turn, job, coming);
  }
}

}  // namespace trainyard::core
