// Processes, the network between them, and everything that goes wrong with both.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/sim/world.h"

namespace trainyard::sim {

using namespace core;  // NOLINT: see shell.cc

World::World(const Options& options)
    : options_(options), random_(options.faults ? options.seed : options.seed ^ 0x71756965) {
  settings_ = {
      .lease_ms = 4'000,
      .stop_grace_ms = 3'000,
      .register_ms = 5'000,
      .stalled_ms = 6'000,
      .stalled_steps = 8,
      .phase_limit_ms = 15'000,
      .gone_ms = 40'000,
      .idle_ms = 4'000,
      .retries = 6,
      .retry_pause_ms = 300,
      .retry_pause_max_ms = 3'000,
  };
  same_path_ = random_.Chance(50);
  unordered_ = options.faults && !same_path_ && random_.Chance(40);
  paths_changed_ = unordered_;
}

Report World::Run() {
  PlanJobs();
  Start();
  if (options_.faults && random_.Chance(25)) Spawn(LaunchId{}, false);  // somebody else's worker
  if (options_.faults) clock_.After(random_.Between(100, 2'000), [this] { Fault(); });
  if (options_.faults && random_.Chance(30)) {
    clock_.After(random_.Between(2'000, 4'000), [this] { Adjust(); });
  }
  bool ended = false;
  const auto goes_on = [&] {
    return !ended && clock_.now_ms() < kBoundMs && report_.violations.empty();
  };
  try {
    while (goes_on() && clock_.Advance()) {
      ended = clock_.now_ms() > (options_.faults ? kFaultMs : 0) && up_ && unwritten_.empty() &&
              withheld_.empty() && Quiet();
    }
  } catch (const std::exception& error) {
    Violation(absl::StrCat("thrown: ", error.what()));
  }
  if (ended) {
    CheckEnd();
  } else if (report_.violations.empty()) {
    Violation("not everything has ended within the bound");
  }
  return Finish();
}

const network::Configuration& World::ConfigurationOf(TrialId trial) {
  return disk_.records().trials.at(trial).configuration;
}

void World::Started(TrialId trial, uint64_t weights) {
  const auto [known, first] = start_weights_.insert({trial, weights});
  if (!first && known->second != weights) restarted_.insert(trial);
  known->second = weights;
}

int World::Spawn(LaunchId launch, bool gpu) {
  const int process = static_cast<int>(processes_.size());
  processes_.push_back({.worker = std::make_unique<Worker>(*this, process, launch), .gpu = gpu});
  processes_.back().worker->Boot();
  return process;
}

World::Process* World::Find(LaunchId launch) {
  for (Process& process : processes_) {
    if (process.worker->alive() && process.worker->launch() == launch) return &process;
  }
  return nullptr;
}

World::Process* World::Find(WorkerId worker) {
  for (Process& process : processes_) {
    if (process.worker->alive() && process.worker->id() == worker) return &process;
  }
  return nullptr;
}

void World::Register(int index) {
  Worker* worker = processes_[static_cast<size_t>(index)].worker.get();
  std::optional<Gpu> gpu;
  if (processes_[static_cast<size_t>(index)].gpu) gpu = {.name = "A GPU", .uuid = "GPU-1"};
  Want(
      [worker, index, gpu](RequestId id) {
        return Event{.what = WorkerRegistered{.request = id,
                                              .incarnation = absl::StrCat("process", index),
                                              .name = absl::StrCat("host/", index),
                                              .pool = worker->launch() ? "process" : "external",
                                              .launch = worker->launch(),
                                              .gpu = gpu}};
      },
      [this, worker](const Answer& answer) {
        clock_.After(random_.Between(1, 50), [worker, answer] {
          if (answer.code == absl::StatusCode::kOk) {
            worker->Registered(WorkerId{answer.id});
          } else {
            worker->Refused();
          }
        });
      });
}

void World::Connect(int index) {
  Process& process = processes_[static_cast<size_t>(index)];
  if (!process.worker->alive() || process.open) return;
  if (!up_ || clock_.now_ms() < process.cut_off_until_ms) return process.worker->Closed();
  // A session's end is told before the next one's beginning.
  if (process.close_untold) Post({.what = WorkerDisconnected{process.worker->id()}});
  process.close_untold = false;
  process.open = true;
  ++process.session;
  process.worker->Opened();
}

void World::Send(int index, Event event) {
  Process& process = processes_[static_cast<size_t>(index)];
  if (!process.open) return;
  const bool free = unordered_ && Faulty() && !std::holds_alternative<WorkerConnected>(event.what);
  if (free && random_.Chance(5)) return Count("fault: message lost");
  int64_t arrival_ms = clock_.now_ms() + random_.Between(1, free ? 900 : 50);
  if (!free) arrival_ms = process.last_up_ms = std::max(process.last_up_ms, arrival_ms);
  const auto deliver = [this, index, event, session = process.session] {
    if (processes_[static_cast<size_t>(index)].session == session) Post(event);
  };
  clock_.After(arrival_ms - clock_.now_ms(), deliver);
  if (!free || !random_.Chance(10)) return;
  Count("fault: message twice");
  clock_.After(random_.Between(1, 3'000), deliver);
}

void World::Exited(int index, ExitKind kind, int number) {
  Process& process = processes_[static_cast<size_t>(index)];
  const LaunchId launch = process.worker->launch();
  if (process.open) {
    process.open = false;
    ++process.session;
    Post({.what = WorkerDisconnected{process.worker->id()}});
  }
  if (!launch) {
    // Its owner starts it again, as long as there is something to do.
    if (Quiet()) return;
    clock_.After(random_.Between(500, 4'000), [this] { Spawn(LaunchId{}, false); });
    return;
  }
  clock_.After(random_.Between(1, 250), [this, launch, kind, number, life = life_] {
    if (life == life_) Post({.what = WorkerExited{launch, kind, number, "ended"}});
  });
}

int World::AnyProcess() {
  std::vector<int> registered;
  for (size_t i = 0; i < processes_.size(); ++i) {
    const Worker& worker = *processes_[i].worker;
    if (worker.alive() && worker.id()) registered.push_back(static_cast<int>(i));
  }
  if (registered.empty()) return -1;
  return registered[random_.Next() % registered.size()];
}

void World::Cut(int index) {
  Process& process = processes_[static_cast<size_t>(index)];
  if (!process.open) return;
  process.open = false;
  ++process.session;
  if (random_.Chance(50)) {
    Post({.what = WorkerDisconnected{process.worker->id()}});
  } else {
    process.close_untold = true;  // half open: noticed when the next session comes
  }
  process.worker->Closed();
}

void World::Fault() {
  if (!Faulty()) return;
  clock_.After(random_.Between(300, 4'000), [this] { Fault(); });
  // The last three lead elsewhere: another batch size, another checkpoint to inherit from.
  const int64_t kind = random_.Between(-1, same_path_ ? 13 : 16);
  const int process = AnyProcess();
  if (kind < 0) {
    LoseHost();
  } else if (kind < 10) {
    if (process >= 0) WorkerFault(kind, process);
  } else if (kind == 10) {
    Crash("fault: coordinator killed");
  } else if (kind < 14) {
    Count("people meddle");
    Meddle();
  } else if (kind < 16) {
    TearBlob();
  } else if (process >= 0) {
    Count("fault: worker out of memory");
    paths_changed_ = true;
    processes_[static_cast<size_t>(process)].worker->Die(ExitKind::kOutOfMemory, 0);
  }
}

void World::WorkerFault(int64_t kind, int index) {
  Process& process = processes_[static_cast<size_t>(index)];
  Worker* worker = process.worker.get();
  switch (kind) {
    case 0:
    case 1:
      Count("fault: worker killed");
      return worker->Die(ExitKind::kSignal, 9);
    case 2:
      Count("fault: worker hangs");
      return worker->Hang();
    case 3:
      Count("fault: worker frozen");
      return worker->Freeze(random_.Between(500, 9'000));
    case 4:
    case 5:
      Count("fault: session cut");
      return Cut(index);
    case 6:
      Count("fault: partition");
      process.cut_off_until_ms = clock_.now_ms() + random_.Between(500, 9'000);
      return Cut(index);
    case 7:
      Count("fault: worker preempted");
      return worker->Die(ExitKind::kCode, 143);
    case 8: {
      Count("fault: attempt fails");
      constexpr Outcome kOutcomes[] = {Outcome::kFailed,      Outcome::kFailed,
                                       Outcome::kStopped,     Outcome::kDeviceLost,
                                       Outcome::kOutOfMemory, Outcome::kFailedFinally};
      const Outcome outcome = kOutcomes[random_.Between(0, same_path_ ? 3 : 5)];
      if (outcome == Outcome::kDeviceLost) Count("fault: GPU lost");
      if (outcome == Outcome::kOutOfMemory) paths_changed_ = true;
      return worker->FailSoon(outcome);
    }
    default:
      Count("fault: worker leaves");
      Post({.what = WorkerLeft{worker->id(), "preempted"}});
      return worker->Die(ExitKind::kCode, 0);
  }
}

// Nothing can be launched there, but what runs goes on.
void World::LoseHost() {
  const auto farm = settings_.pools.find("farm");
  if (farm == settings_.pools.end()) return;
  const HostName host{"farm", random_.Chance(50) ? "east" : "west"};
  Count("fault: host lost");
  lost_hosts_.insert(host);
  Post({.what = HostLost{host, "no route"}});
  clock_.After(random_.Between(500, 9'000), [this, host] {
    lost_hosts_.erase(host);
    Post({.what = HostFound{host}});
  });
}

void World::TearBlob() {
  if (blobs_.empty()) return;
  Count("fault: blob torn");
  paths_changed_ = true;
  auto blob = blobs_.begin();
  std::advance(blob, random_.Next() % blobs_.size());
  blob->second.torn = true;
  if (random_.Chance(50)) Post({.what = CheckpointBroken{blob->first, "wrong hash"}});
}

Report Simulate(const Options& options) { return World(options).Run(); }

}  // namespace trainyard::sim
