// The coordinator process around the core: takes events, steps, commits, performs; and crashes.
#include "absl/strings/str_cat.h"
#include "tests/sim/world.h"

namespace trainyard::sim {

using namespace core;  // NOLINT: the shell speaks of little else

void World::Start() {
  ++life_;
  up_ = true;
  looping_ = false;
  state_ = disk_.Load(settings_);
  queue_.push_front({.what = CoordinatorRecovered{}});
  Loop();
  Tick();
}

void World::Crash(const char* kind) {
  if (!up_) return;
  Count(kind);
  if (unwritten_.empty()) CheckRecovered();
  up_ = false;
  ++life_;
  queue_.clear();
  asked_.clear();
  unwritten_ = {};
  withheld_.clear();
  for (Process& process : processes_) {
    process.close_untold = false;
    if (!process.open) continue;
    process.open = false;
    ++process.session;
    process.worker->Closed();
  }
  clock_.After(random_.Between(100, 6'000), [this] { Start(); });
}

// What would be recovered is what is there, but for leases, sessions and timers.
void World::CheckRecovered() {
  State committed = disk_.Load(settings_);
  State now = state_;
  Forget(now);
  for (auto& [id, attempt] : now.attempts) attempt.live = {};
  for (auto& [id, worker] : now.workers) worker.live = {};
  for (auto& [id, launch] : now.launches) launch.live = {};
  now.hosts.clear();
  now.shutting_down = false;
  if (!(now == committed)) Violation("what was committed is not what the coordinator knew");
}

void World::Post(Event event) {
  if (!up_) return;
  if (Hits(200)) {
    Count("fault: event twice");
    queue_.push_back(event);
  }
  queue_.push_back(std::move(event));
  if (looping_) return;
  looping_ = true;
  clock_.After(random_.Between(1, 20), [this, life = life_] {
    if (life == life_) Loop();
  });
}

void World::Loop() {
  looping_ = false;
  while (!queue_.empty()) {
    Event event = std::move(queue_.front());
    queue_.pop_front();
    StepOne(std::move(event));
  }
  const int64_t life = life_;
  if (options_.mistake == Mistake::kEffectsFirst) PerformAll();
  if (life == life_ && Hits(60)) Crash("fault: crash before commit");
  if (life != life_ || !CommitAll()) return;
  if (Hits(60)) return Crash("fault: crash after commit");
  PerformAll();
  if (life == life_) Forget(state_);
}

bool World::CommitAll() {
  if (Hits(50)) {
    Count("fault: commit failed");
    looping_ = true;
    clock_.After(500, [this, life = life_] {
      if (life == life_) Loop();
    });
    return false;
  }
  if (options_.mistake == Mistake::kLostRecord) unwritten_.checkpoints.clear();
  disk_.Commit(state_, unwritten_);
  unwritten_ = {};
  return true;
}

void World::PerformAll() {
  const std::vector<Effect> effects = std::move(withheld_);
  withheld_.clear();
  const int64_t life = life_;
  for (const Effect& effect : effects) {
    if (Hits(15)) Crash("fault: crash between effects");
    if (life != life_) return;
    CheckEffect(effect);
    Perform(effect);
  }
}

void World::StepOne(Event event) {
  const bool tick = std::holds_alternative<TimePassed>(event.what);
  if (tick && options_.mistake == Mistake::kNoLeases) return;
  event.now_ms = clock_.now_ms();
  event.wall_ms = Hits(500) ? random_.Between(0, 1'000'000'000'000) : clock_.now_ms();
  Event told = event;
  if (options_.mistake == Mistake::kNoFencing) {
    std::visit(
        [&](auto& what) {
          if constexpr (requires { what.claim; }) {
            const auto attempt = state_.attempts.find(what.claim.attempt);
            if (attempt == state_.attempts.end()) return;
            const TrialId trial = attempt->second.trial;
            what.claim = state_.attempts.at(state_.trials.at(trial).attempt).claim();
          }
        },
        told.what);
  }
  const State before = state_;
  Result result = Step(state_, told);
  if (options_.mistake == Mistake::kForgottenOutbox &&
      std::holds_alternative<CoordinatorRecovered>(told.what)) {
    result.effects.clear();
  }
  ++report_.steps;
  Account(event, before, result);
  Remember(event, result);
  unwritten_.Add(std::move(result.changes));
  for (Effect& effect : result.effects) withheld_.push_back(std::move(effect));
}

void World::Perform(const Effect& effect) {
  const int64_t life = life_;
  const auto later = [this, life](int64_t delay_ms, Event event) {
    clock_.After(delay_ms, [this, life, event = std::move(event)] {
      if (life == life_) Post(event);
    });
  };
  if (const auto* answer = std::get_if<Answer>(&effect)) {
    const auto asked = asked_.find(answer->request);
    if (asked == asked_.end()) return Violation("an answer that nobody waits for");
    Wish& wish = wishes_.at(asked->second);
    asked_.erase(asked);
    if (!wish.granted) wish.done(*answer);
    wish.granted = true;
  } else if (const auto* prepare = std::get_if<PrepareSource>(&effect)) {
    const auto commit = commits_.find(prepare->commit);
    if (commit == commits_.end()) {
      later(random_.Between(50, 800), {.what = SourceRefused{prepare->push, "no spec"}});
    } else {
      later(random_.Between(50, 800), {.what = SourcePrepared{prepare->push, commit->second}});
    }
  } else if (const auto* launch = std::get_if<LaunchWorker>(&effect)) {
    Launch(*launch);
  } else if (const auto* adopt = std::get_if<AdoptWorker>(&effect)) {
    if (Find(adopt->launch) == nullptr) later(10, {.what = WorkerExited{adopt->launch}});
  } else if (const auto* stop = std::get_if<StopWorker>(&effect)) {
    EndProcess(*stop);
  } else if (std::holds_alternative<RemoveStrays>(effect)) {
    EndStrays();
  } else if (const auto* drop = std::get_if<DropCheckpoint>(&effect)) {
    Drop(*drop);
    later(5, {.what = CheckpointDropped{drop->checkpoint}});
  } else if (const auto* notify = std::get_if<Notify>(&effect)) {
    later(random_.Between(10, 500), {.what = NoticeSent{notify->notice}});
  } else if (std::holds_alternative<Quit>(effect)) {
    Crash("shutdown");
  } else {
    std::visit(
        [&](const auto& what) {
          if constexpr (requires { what.claim; }) ToWorker(what.claim.worker, effect);
          if constexpr (requires { what.worker; }) ToWorker(what.worker, effect);
        },
        effect);
  }
}

void World::Launch(const LaunchWorker& effect) {
  const auto fail = [&](const char* kind, LaunchFault fault) {
    Count(kind);
    Post({.what = WorkerLaunchFailed{effect.launch, fault, "no"}});
  };
  if (lost_hosts_.contains(effect.slot.host)) {
    return fail("fault: launch on a lost host", LaunchFault::kPassing);
  }
  if (Hits(1'000)) return fail("fault: launch failed", LaunchFault::kPassing);
  // One host of several has no image: the others will do.
  if (effect.slot.host.host == "west" && Hits(2'000)) {
    return fail("fault: launch refused", LaunchFault::kLasting);
  }
  const HostName& host = effect.slot.host;
  const auto& slots = settings_.pools.at(host.pool).hosts.at(host.host);
  bool gpu = slots.at(static_cast<size_t>(effect.slot.slot)).gpu;
  if (gpu && Hits(2'000)) {
    Count("fault: GPU not to be had");
    gpu = false;
  }
  const bool there = Find(effect.launch) != nullptr;
  if (!there || options_.mistake == Mistake::kLaunchesTwice) Spawn(effect.launch, gpu);
  const std::string handle = absl::StrCat(effect.launch.value);
  const int64_t delay_ms = random_.Between(10, 300);
  clock_.After(delay_ms, [this, life = life_, effect, handle] {
    if (life == life_) Post({.what = WorkerLaunched{effect.launch, handle}});
  });
  if (!settings_.pools.at(effect.slot.host.pool).queues) return;
  clock_.After(delay_ms + random_.Between(0, 500), [this, life = life_, effect] {
    if (life == life_) Post({.what = LaunchStarted{effect.launch}});
  });
}

void World::EndStrays() {
  for (const Process& process : processes_) {
    const LaunchId launch = process.worker->launch();
    if (!launch || !process.worker->alive()) continue;
    const auto known = disk_.records().launches.find(launch);
    if (known != disk_.records().launches.end() && !Over(known->second)) continue;
    Count("stray ended");
    process.worker->Die(ExitKind::kSignal, 9);
  }
}

void World::EndProcess(const StopWorker& effect) {
  Process* process = Find(effect.launch);
  if (process == nullptr) return Post({.what = WorkerExited{effect.launch}});
  Worker* worker = process->worker.get();
  const int64_t delay_ms = effect.grace_ms > 0 ? random_.Between(0, 400) : 1;
  clock_.After(delay_ms, [worker] { worker->Die(ExitKind::kSignal, 9); });
}

void World::Drop(const DropCheckpoint& effect) {
  bool needed = false;
  for (const auto& [id, checkpoint] : disk_.records().checkpoints) {
    needed = needed ||
             (checkpoint.sha256 == effect.sha256 && checkpoint.state == CheckpointState::kSound);
  }
  for (const Process& process : processes_) {
    needed = needed || process.worker->Uploaded(effect.sha256);
  }
  if (needed) Count("blob shared");
  if (!needed || options_.mistake == Mistake::kDeletesShared) blobs_.erase(effect.sha256);
}

Order World::OnTheWire(const Effect& effect) const {
  Order order{.effect = effect};
  if (const auto* start = std::get_if<StartAttempt>(&effect)) {
    const Trial& trial = disk_.records().trials.at(start->trial);
    if (options_.mistake != Mistake::kForgetsChanges) order.adjustments = trial.adjustments;
    order.until_epoch = trial.until_epoch;
  } else if (const auto* adjust = std::get_if<AdjustAttempt>(&effect)) {
    const Trial& trial = disk_.records().trials.at(adjust->trial);
    // Gone in the same step, with the trial's end.
    const auto index = static_cast<size_t>(adjust->number - 1);
    if (index < trial.adjustments.size()) order.adjustments = {trial.adjustments[index]};
  }
  return order;
}

void World::ToWorker(WorkerId worker, const Effect& effect) {
  Process* process = Find(worker);
  if (process == nullptr || !process->open) return;
  process->last_down_ms = std::max(process->last_down_ms, clock_.now_ms() + random_.Between(1, 50));
  Worker* target = process->worker.get();
  const auto index = static_cast<size_t>(process - processes_.data());
  clock_.After(process->last_down_ms - clock_.now_ms(),
               [this, index, target, order = OnTheWire(effect), session = process->session] {
                 if (processes_[index].session == session && target->alive()) target->Hear(order);
               });
}

void World::Tick() {
  Post({.what = TimePassed{}});
  clock_.After(500, [this, life = life_] {
    if (life == life_) Tick();
  });
}

}  // namespace trainyard::sim
