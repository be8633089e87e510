// Workers: who they are, whether they can be spoken to, what they hold.
//
//   state      what happens                                    next
//   ---------  ----------------------------------------------  ---------
//   idle       an attempt is given to it                       busy
//   busy       its attempt ended, whoever ended it             idle
//   any        it stalled, or drains and holds nothing         dismissed
//   any        it left, its process ended, silent for too long gone
//
// What is sent to a worker arrives in order: a worker that was told to drop an attempt and then to
// start another does both. One whose session is cut says on its return what it holds.
#include "absl/strings/str_cat.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

WorkerId FindIncarnation(const State& state, const std::string& incarnation) {
  for (const auto& [id, worker] : state.workers) {
    if (worker.incarnation == incarnation) return id;
  }
  return {};
}

// The worker is no more; what it holds is lost for this cause.
void MarkGone(Turn& turn, WorkerId id, Cause cause, const std::string& message) {
  const AttemptId held = turn.state.workers.at(id).attempt;
  Worker& worker = turn.Change(id);
  worker.state = WorkerState::kGone;
  worker.attempt = {};
  worker.live = {};
  if (worker.launch) StopLaunch(turn, worker.launch, turn.state.settings.lease_ms);
  if (held) FinishAttempt(turn, held, cause, message);
}

Cause CauseOf(const WorkerExited& event) {
  constexpr int kSigTerm = 15;
  if (event.kind == ExitKind::kOutOfMemory) return Cause::kOutOfMemory;
  const bool terminated = (event.kind == ExitKind::kSignal && event.number == kSigTerm) ||
                          (event.kind == ExitKind::kCode && event.number == 128 + kSigTerm);
  return terminated ? Cause::kPreempted : Cause::kWorkerExited;
}

// Our worker program names the GPU that it has. Images for programs of users may lack the module
// that would, and have their GPU all the same.
bool NamesItsGpu(const State& state, const Launch& launch) {
  return !OneAttempt(state, launch) || launch.runtime == "native";
}

// What it is follows from where it was launched, not from what it says; but a GPU that is gone, or
// that another process has, is not there.
void TakeFromLaunch(Launch& launch, const State& state, Worker& worker) {
  launch.worker = worker.id;
  worker.pool = launch.slot.host.pool;
  const Abilities* can = AbilitiesOf(state, launch.slot);
  if (can != nullptr) worker.abilities = *can;
  if (worker.abilities.gpu && !worker.gpu && NamesItsGpu(state, launch)) {
    worker.abilities.gpu = false;
    worker.abilities.gpu_memory_bytes = 0;
  }
  if (launch.slot.host.host.empty()) return;
  // In a container, the host's name and pid are the container's.
  worker.host = launch.slot.host.host;
  worker.name = absl::StrCat(worker.host, "/", launch.id.value);
}

}  // namespace

void On(Turn& turn, const WorkerRegistered& event) {
  if (const WorkerId known = FindIncarnation(turn.state, event.incarnation)) {
    return turn.Accept(event.request, known.value, /*existed=*/true);
  }
  const auto launch = turn.state.launches.find(event.launch);
  if (event.launch && (launch == turn.state.launches.end() ||
                       launch->second.state == LaunchState::kOver || launch->second.worker)) {
    return turn.Refuse(
        event.request, absl::StatusCode::kFailedPrecondition,
        absl::StrCat("launch ", event.launch.value, " is over or has brought a worker already"));
  }
  Worker& worker = turn.Add(turn.state.workers, &Counters::worker);
  worker.incarnation = event.incarnation;
  worker.name = event.name;
  worker.pool = event.pool;
  worker.launch = event.launch;
  worker.host = event.host;
  worker.pid = event.pid;
  worker.device = event.device;
  worker.abilities = event.abilities;
  worker.gpu = event.gpu;
  worker.live.since_ms = turn.now_ms;
  if (event.launch) TakeFromLaunch(turn.Change(event.launch), turn.state, worker);
  turn.Accept(event.request, worker.id.value);
}

void On(Turn& turn, const WorkerConnected& event) {
  const auto found = turn.state.workers.find(event.worker);
  const bool welcome = found != turn.state.workers.end() &&
                       found->second.state != WorkerState::kGone &&
                       found->second.state != WorkerState::kDismissed;
  Claim running = event.running;
  running.worker = event.worker;
  const Attempt* held = welcome ? Held(turn.state, running) : nullptr;
  if (running.attempt && held == nullptr) {
    turn.Do(SupersedeAttempt{running, "the attempt was given away or is over"});
  }
  if (!welcome) return turn.Do(DismissWorker{event.worker, "this worker was given up"});
  Worker& worker = found->second;
  worker.live = {.connected = true, .since_ms = turn.now_ms};
  if (held != nullptr) {
    Renew(turn, held->id);
    turn.Do(GrantLease{running, turn.state.settings.lease_ms});
    if (held->state == AttemptState::kStopping) SendStop(turn, *held);
  } else if (worker.attempt) {
    const Attempt& given = turn.state.attempts.at(worker.attempt);
    if (given.state == AttemptState::kStarting) SendStart(turn, given);
  }
}

void On(Turn& turn, const WorkerDisconnected& event) {
  const auto worker = turn.state.workers.find(event.worker);
  if (worker == turn.state.workers.end()) return;
  worker->second.live = {.connected = false, .since_ms = turn.now_ms};
  const bool dismissed = worker->second.state == WorkerState::kDismissed;
  if (dismissed && !worker->second.launch) {
    MarkGone(turn, event.worker, Cause::kPreempted, "dismissed");
  }
}

void On(Turn& turn, const WorkerDrained& event) {
  const auto found = turn.state.workers.find(event.worker);
  if (found == turn.state.workers.end() || found->second.state == WorkerState::kGone) {
    return turn.Refuse(event.request, absl::StatusCode::kNotFound,
                       absl::StrCat("no worker ", event.worker.value));
  }
  turn.Change(event.worker).draining = true;
  turn.Accept(event.request, event.worker.value);
  if (found->second.attempt) {
    StopAttemptFor(turn, found->second.attempt, Cause::kDrained, "the worker is drained");
  } else {
    RemoveWorker(turn, event.worker, "drained", turn.state.settings.lease_ms);
  }
}

void On(Turn& turn, const WorkerLeft& event) {
  const auto found = turn.state.workers.find(event.worker);
  if (found == turn.state.workers.end() || found->second.state == WorkerState::kGone) return;
  MarkGone(turn, event.worker, Cause::kPreempted, event.reason);
}

void LoseWorker(Turn& turn, WorkerId id, const WorkerExited& exit) {
  const auto found = turn.state.workers.find(id);
  if (found == turn.state.workers.end() || found->second.state == WorkerState::kGone) return;
  MarkGone(turn, id, CauseOf(exit), exit.message);
}

void FreeWorker(Turn& turn, WorkerId id) {
  const auto found = turn.state.workers.find(id);
  if (found == turn.state.workers.end() || found->second.state != WorkerState::kBusy) return;
  Worker& worker = turn.Change(id);
  worker.state = WorkerState::kIdle;
  worker.attempt = {};
  worker.live.since_ms = turn.now_ms;
  if (worker.draining) RemoveWorker(turn, id, "drained", turn.state.settings.lease_ms);
}

void RemoveWorker(Turn& turn, WorkerId id, const std::string& reason, int64_t grace_ms) {
  Worker& worker = turn.Change(id);
  if (worker.state != WorkerState::kIdle) return;
  worker.state = WorkerState::kDismissed;
  worker.live.since_ms = turn.now_ms;
  turn.Do(DismissWorker{id, reason});
  if (worker.launch) StopLaunch(turn, worker.launch, grace_ms);
}

void SuperviseWorkers(Turn& turn) {
  const Settings& settings = turn.state.settings;
  for (const auto& [id, worker] : turn.state.workers) {
    if (worker.state != WorkerState::kIdle && worker.state != WorkerState::kDismissed) continue;
    const int64_t waited_ms = turn.now_ms - worker.live.since_ms;
    const bool reachable = worker.live.connected && !worker.live.silent;
    if (!worker.launch) {
      if (!reachable && waited_ms >= settings.gone_ms) {
        MarkGone(turn, id, Cause::kLeaseExpired, "not heard of");
      }
    } else if (!reachable && waited_ms >= settings.register_ms) {
      RemoveWorker(turn, id, "not heard of", /*grace_ms=*/0);
    } else if (waited_ms >= settings.idle_ms) {
      RemoveWorker(turn, id, "nothing to do", settings.lease_ms);
    }
  }
}

}  // namespace trainyard::core
