// Who trains what, and where.
//
// First comes the higher priority, to which waiting adds (Settings::aging_ms), so that nobody
// starves; among equals the owner that has the fewest attempts running, so that a hundred jobs of
// one project do not hold up another's; then the older job.
//
// It goes to an idle worker that can do it. What finds none has a worker launched, in the free slot
// that suits best: not where the trial failed lately, a GPU before a CPU, the smallest that is
// large enough, the host with the most room. A slot whose GPU was lost is left alone for a while.
//
// A worker that came without the GPU of its slot runs what a CPU may run. When it is idle and an
// attempt waits for such a GPU, it is let go, and its slot tried again after the same while.
#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/core/walk.h"
#include "network/shapes.h"

namespace trainyard::core {
namespace {

// A slot that nobody uses or is about to.
struct FreeSlot {
  SlotName name;
  const Abilities* can = nullptr;
  int room = 0;  // free slots of its host
};

// Brought by a launch that is to end, or not by a launch at all.
bool Leaving(const State& state, const Worker& worker) {
  if (worker.draining) return true;
  const auto launch = state.launches.find(worker.launch);
  return launch != state.launches.end() && launch->second.state >= LaunchState::kStopping;
}

bool Free(const State& state, const Worker& worker, int64_t now_ms) {
  return worker.state == WorkerState::kIdle && worker.live.connected && !worker.live.silent &&
         !Leaving(state, worker) && Usable(state, PlaceOf(state, worker), now_ms);
}

// The one attempt that a worker may run; none: any.
AttemptId BoundTo(const State& state, const Worker& worker) {
  const auto launch = state.launches.find(worker.launch);
  if (launch == state.launches.end() || !OneAttempt(state, launch->second)) return {};
  return launch->second.attempt;
}

bool CanRun(const State& state, const Worker& worker, const Attempt& attempt) {
  const AttemptId bound = BoundTo(state, worker);
  if (!bound) return Fits(state, attempt, worker.pool, worker.abilities);
  const bool needs_gpu = state.jobs.at(attempt.job).request.needs.gpu == GpuWish::kRequired;
  return bound == attempt.id && (worker.abilities.gpu || !needs_gpu);
}

// It cannot run the attempt, which another worker in its slot, with the slot's GPU, could.
bool KeepsGpuFrom(const State& state, const Worker& worker, const Attempt& attempt) {
  const auto launch = state.launches.find(worker.launch);
  if (launch == state.launches.end() || worker.abilities.gpu) return false;
  const Abilities* can = AbilitiesOf(state, launch->second.slot);
  if (can == nullptr || !can->gpu) return false;
  if (state.jobs.at(attempt.job).request.needs.gpu != GpuWish::kRequired) return false;
  const AttemptId bound = BoundTo(state, worker);
  return bound ? bound == attempt.id : Fits(state, attempt, worker.pool, *can);
}

bool IsBelow(const std::string& path, const std::string& root) {
  if (!path.starts_with(root)) return false;
  return path.size() == root.size() || root.ends_with('/') || path[root.size()] == '/';
}

std::string OwnerOf(const Job& job) {
  return job.request.project ? absl::StrCat("project ", job.request.project.value)
                             : job.request.source;
}

int64_t PriorityOf(const State& state, const Attempt& attempt, int64_t now_ms) {
  const int64_t waited_ms = std::max<int64_t>(0, now_ms - attempt.live.not_before_ms);
  return state.jobs.at(attempt.job).request.needs.priority + waited_ms / state.settings.aging_ms;
}

// Queued attempts whose time has come by then, in the order in which they are to be served.
std::vector<AttemptId> Ready(const State& state, int64_t by_ms, int64_t now_ms) {
  struct Waiting {
    int64_t priority;
    int64_t turn;  // attempts of the owner that run, or are served before
    JobId job;
    AttemptId attempt;
  };
  std::map<std::string, int64_t> served;
  std::vector<Waiting> waiting;
  for (const auto& [id, attempt] : state.attempts) {
    const Job& job = state.jobs.at(attempt.job);
    if (attempt.held()) ++served[OwnerOf(job)];
    if (attempt.state != AttemptState::kQueued || attempt.live.not_before_ms > by_ms) continue;
    if (job.paused) continue;
    waiting.push_back({PriorityOf(state, attempt, now_ms), 0, attempt.job, id});
  }
  const auto by_priority = [](const Waiting& a, const Waiting& b) {
    return std::tuple(-a.priority, a.turn, a.job, a.attempt) <
           std::tuple(-b.priority, b.turn, b.job, b.attempt);
  };
  std::sort(waiting.begin(), waiting.end(), by_priority);
  for (Waiting& one : waiting) one.turn = served[OwnerOf(state.jobs.at(one.job))]++;
  std::sort(waiting.begin(), waiting.end(), by_priority);
  std::vector<AttemptId> ids;
  for (const Waiting& one : waiting) ids.push_back(one.attempt);
  return ids;
}

std::vector<WorkerId> FreeWorkers(const State& state, int64_t now_ms) {
  std::vector<WorkerId> free;
  for (const auto& [id, worker] : state.workers) {
    if (Free(state, worker, now_ms)) free.push_back(id);
  }
  return free;
}

// Launches whose worker will be idle soon, and may then run anything.
std::vector<LaunchId> Coming(const State& state) {
  std::vector<LaunchId> coming;
  for (const auto& [id, launch] : state.launches) {
    if (launch.state >= LaunchState::kStopping || OneAttempt(state, launch)) continue;
    const auto worker = state.workers.find(launch.worker);
    const bool expected = worker == state.workers.end() ||
                          (worker->second.state == WorkerState::kIdle && !worker->second.draining &&
                           !worker->second.live.connected);
    if (expected) coming.push_back(id);
  }
  return coming;
}

std::vector<FreeSlot> FreeSlots(const State& state, int64_t now_ms) {
  std::set<SlotName> used;
  for (const auto& [id, launch] : state.launches) {
    if (launch.state != LaunchState::kOver) used.insert(launch.slot);
  }
  std::vector<FreeSlot> free;
  for (const auto& [pool_name, pool] : state.settings.pools) {
    for (const auto& [host, slots] : pool.hosts) {
      const HostName name{pool_name, host};
      if (!Usable(state, name, now_ms)) continue;
      const size_t first = free.size();
      for (int i = 0; i < static_cast<int>(slots.size()); ++i) {
        if (used.contains({name, i}) || !SlotUsable(state, {name, i}, now_ms)) continue;
        free.push_back({{name, i}, &slots[static_cast<size_t>(i)]});
      }
      for (size_t i = first; i < free.size(); ++i)
        free[i].room = static_cast<int>(free.size() - first);
    }
  }
  return free;
}

// Takes the best one out; nothing if none suits.
std::optional<SlotName> TakeSlot(const State& state, const Attempt& attempt,
                                 std::vector<FreeSlot>& slots) {
  const auto rank = [&](const FreeSlot& slot) {
    return std::tuple(attempt.live.avoid.contains(slot.name.host), !slot.can->gpu,
                      slot.can->gpu_memory_bytes, -slot.room, slot.name);
  };
  auto best = slots.end();
  for (auto slot = slots.begin(); slot != slots.end(); ++slot) {
    if (!Fits(state, attempt, slot->name.host.pool, *slot->can)) continue;
    if (attempt.live.refused.contains(slot->name.host)) continue;
    if (best == slots.end() || rank(*slot) < rank(*best)) best = slot;
  }
  if (best == slots.end()) return std::nullopt;
  const SlotName name = best->name;
  slots.erase(best);
  for (FreeSlot& slot : slots) slot.room -= slot.name.host == name.host ? 1 : 0;
  return name;
}

bool HasLaunch(const State& state, AttemptId id) {
  return std::any_of(state.launches.begin(), state.launches.end(), [&](const auto& entry) {
    const Launch& launch = entry.second;
    return launch.attempt == id && launch.state < LaunchState::kStopping &&
           OneAttempt(state, launch);
  });
}

// Nothing that could run it is there, and every host that could start such a worker has refused.
bool Hopeless(const State& state, const Attempt& attempt) {
  if (attempt.live.refused.empty()) return false;
  for (const auto& [id, worker] : state.workers) {
    const bool leaves = worker.state >= WorkerState::kDismissed;
    if (!leaves && CanRun(state, worker, attempt)) return false;
  }
  for (const auto& [pool_name, pool] : state.settings.pools) {
    for (const auto& [host, slots] : pool.hosts) {
      if (attempt.live.refused.contains({pool_name, host})) continue;
      for (const Abilities& can : slots) {
        if (Fits(state, attempt, pool_name, can)) return false;
      }
    }
  }
  return true;
}

void GiveUp(Turn& turn, const Attempt& attempt) {
  std::vector<std::string> reasons;
  for (const auto& [host, message] : attempt.live.refused) {
    reasons.push_back(absl::StrCat(Describe(host), ": ", message));
  }
  EndJob(turn, attempt.job, JobState::kFailed,
         absl::StrCat("no worker can be started: ", absl::StrJoin(reasons, "; ")));
}

bool AnyQueued(const State& state) {
  return std::any_of(state.attempts.begin(), state.attempts.end(),
                     [](const auto& entry) { return entry.second.state == AttemptState::kQueued; });
}

void GiveToIdle(Turn& turn) {
  std::vector<WorkerId> free = FreeWorkers(turn.state, turn.now_ms);
  if (free.empty()) return;
  for (const AttemptId id : Ready(turn.state, turn.now_ms, turn.now_ms)) {
    const Attempt& attempt = turn.state.attempts.at(id);
    const auto worker = std::find_if(free.begin(), free.end(), [&](WorkerId candidate) {
      return CanRun(turn.state, turn.state.workers.at(candidate), attempt);
    });
    if (worker == free.end()) continue;
    GiveAttempt(turn, id, *worker);
    free.erase(worker);
  }
}

// A worker of its own is of no use to anybody else.
void EndUnneededLaunches(Turn& turn) {
  for (auto& [id, launch] : turn.state.launches) {
    if (launch.state >= LaunchState::kStopping || !OneAttempt(turn.state, launch)) continue;
    const auto attempt = turn.state.attempts.find(launch.attempt);
    const bool waits =
        attempt != turn.state.attempts.end() && attempt->second.state == AttemptState::kQueued;
    const auto worker = turn.state.workers.find(launch.worker);
    if (worker == turn.state.workers.end()) {
      if (!waits) StopLaunch(turn, id, turn.state.settings.lease_ms);
    } else if (!waits && worker->second.state == WorkerState::kIdle) {
      RemoveWorker(turn, worker->first, "its attempt is over", turn.state.settings.lease_ms);
    }
  }
}

// Workers that came without the GPU that somebody waits for.
void EndWorkersWithoutGpu(Turn& turn) {
  const std::vector<AttemptId> ready = Ready(turn.state, turn.now_ms, turn.now_ms);
  for (const WorkerId id : FreeWorkers(turn.state, turn.now_ms)) {
    const Worker& worker = turn.state.workers.at(id);
    const bool wanted = std::any_of(ready.begin(), ready.end(), [&](AttemptId attempt) {
      return KeepsGpuFrom(turn.state, worker, turn.state.attempts.at(attempt));
    });
    if (!wanted) continue;
    GiveUpDevice(turn, id, absl::StrCat("its worker ", worker.name, " could not have its GPU"));
    RemoveWorker(turn, id, "a job waits for the GPU of its slot", turn.state.settings.lease_ms);
  }
}

template <typename Record, typename Suits>
bool TakeOne(std::vector<Record>& records, Suits suits) {
  const auto found = std::find_if(records.begin(), records.end(), suits);
  if (found == records.end()) return false;
  records.erase(found);
  return true;
}

// Once it has registered, a worker itself says what it can do.
bool WillFit(const State& state, const Attempt& attempt, const Launch& launch) {
  const auto worker = state.workers.find(launch.worker);
  const Abilities* can =
      worker != state.workers.end() ? &worker->second.abilities : AbilitiesOf(state, launch.slot);
  return can != nullptr && Fits(state, attempt, launch.slot.host.pool, *can);
}

// Workers for what is ready, or will be in a moment: a worker takes its time to come.
void LaunchForTheRest(Turn& turn) {
  const State& state = turn.state;
  std::vector<FreeSlot> slots = FreeSlots(state, turn.now_ms);
  const bool refusals = std::any_of(state.attempts.begin(), state.attempts.end(),
                                    [](auto& entry) { return !entry.second.live.refused.empty(); });
  if (slots.empty() && !refusals) return;
  std::vector<WorkerId> idle = FreeWorkers(state, turn.now_ms);
  std::vector<LaunchId> coming = Coming(state);
  const int64_t soon_ms = turn.now_ms + state.settings.retry_pause_ms;
  for (const AttemptId id : Ready(state, soon_ms, turn.now_ms)) {
    const Attempt& attempt = state.attempts.at(id);
    if (attempt.state != AttemptState::kQueued) continue;  // given up with another of its job
    if (HasLaunch(state, id)) continue;
    if (TakeOne(idle, [&](WorkerId worker) {
          return CanRun(state, state.workers.at(worker), attempt);
        })) {
      continue;
    }
    if (TakeOne(coming, [&](LaunchId launch) {
          return WillFit(state, attempt, state.launches.at(launch));
        })) {
      continue;
    }
    if (const auto slot = TakeSlot(state, attempt, slots)) {
      RequestLaunch(turn, *slot, id);
    } else if (Hopeless(state, attempt)) {
      GiveUp(turn, attempt);
    }
  }
}

}  // namespace

int64_t MemoryNeeded(const State& state, const Attempt& attempt) {
  const Needs& needs = state.jobs.at(attempt.job).request.needs;
  if (needs.gpu_memory_bytes > 0) return needs.gpu_memory_bytes;
  const network::Configuration& configuration = state.trials.at(attempt.trial).configuration;
  return network::TrainingBytes(configuration.network, configuration.training);
}

bool Fits(const State& state, const Attempt& attempt, const std::string& pool,
          const Abilities& can) {
  const Needs& needs = state.jobs.at(attempt.job).request.needs;
  if (!needs.pool.empty() && needs.pool != pool) return false;
  if (!can.runtimes.contains(needs.runtime)) return false;
  for (const auto& [name, value] : needs.labels) {
    const auto label = can.labels.find(name);
    if (label == can.labels.end() || label->second != value) return false;
  }
  for (const std::string& path : needs.paths) {
    const bool there = std::any_of(can.data_roots.begin(), can.data_roots.end(),
                                   [&](const std::string& root) { return IsBelow(path, root); });
    if (!there) return false;
  }
  if (needs.gpu == GpuWish::kNone && can.gpu) return false;
  if (needs.gpu == GpuWish::kRequired && !can.gpu) return false;
  return !can.gpu || can.gpu_memory_bytes == 0 ||
         MemoryNeeded(state, attempt) <= can.gpu_memory_bytes;
}

bool OneAttempt(const State& state, const Launch& launch) {
  const auto pool = state.settings.pools.find(launch.slot.host.pool);
  return pool != state.settings.pools.end() && pool->second.one_attempt;
}

HostName PlaceOf(const State& state, const Worker& worker) {
  const auto launch = state.launches.find(worker.launch);
  if (launch != state.launches.end()) return launch->second.slot.host;
  return {worker.pool, worker.host};
}

const Abilities* AbilitiesOf(const State& state, const SlotName& slot) {
  const auto pool = state.settings.pools.find(slot.host.pool);
  if (pool == state.settings.pools.end()) return nullptr;
  const auto host = pool->second.hosts.find(slot.host.host);
  if (host == pool->second.hosts.end()) return nullptr;
  const bool there = slot.slot >= 0 && slot.slot < static_cast<int>(host->second.size());
  return there ? &host->second[static_cast<size_t>(slot.slot)] : nullptr;
}

void Place(Turn& turn) {
  if (turn.state.shutting_down) return;
  // Most steps find nothing that waits.
  const bool waiting = AnyQueued(turn.state);
  if (waiting) GiveToIdle(turn);
  EndUnneededLaunches(turn);
  if (waiting) EndWorkersWithoutGpu(turn);
  if (waiting) LaunchForTheRest(turn);
}

}  // namespace trainyard::core
