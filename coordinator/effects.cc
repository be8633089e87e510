#include "coordinator/effects.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace trainyard::coordinator {
namespace {

LaunchOrder OrderOf(core::LaunchId launch, const core::SlotName& slot, std::string runtime = "") {
  return {launch.value, slot.host.host, slot.slot, std::move(runtime)};
}

}  // namespace

void Effects::Connect(Parts parts) { parts_ = std::move(parts); }

void Effects::Finish() {
  launching_.clear();
  files_.reset();
}

void Effects::Perform(const core::Effect& effect, const core::State& state) {
  if (parts_.gateway->Perform(effect, state)) return;
  if (const auto* prepare = std::get_if<core::PrepareSource>(&effect)) {
    const auto project = state.projects.find(prepare->project);
    if (project != state.projects.end()) parts_.watcher->Prepare(*prepare, project->second);
  } else if (const auto* launch = std::get_if<core::LaunchWorker>(&effect)) {
    LaunchingIn(launch->slot.host.pool).Add([this, launch = *launch] { Launch(launch); });
  } else if (const auto* adopt = std::get_if<core::AdoptWorker>(&effect)) {
    LaunchingIn(adopt->slot.host.pool).Add([this, adopt = *adopt] { Adopt(adopt); });
  } else if (const auto* stop = std::get_if<core::StopWorker>(&effect)) {
    LaunchingIn(stop->slot.host.pool).Add([this, stop = *stop] { Stop(stop); });
  } else if (std::holds_alternative<core::RemoveStrays>(effect)) {
    RemoveStrays();
  } else if (const auto* drop = std::get_if<core::DropCheckpoint>(&effect)) {
    files_->Add([this, drop = *drop] { Drop(drop); });
  } else if (const auto* notice = std::get_if<core::Notify>(&effect)) {
    spdlog::info("job {}: {}", notice->job.value, notice->text);
    if (parts_.notifier != nullptr) {
      parts_.notifier->Tell(*notice);
    } else {
      parts_.loop->Post(core::NoticeSent{notice->notice});
    }
  } else if (std::holds_alternative<core::Quit>(effect)) {
    on_end_(absl::OkStatus());
  }
}

WorkQueue& Effects::LaunchingIn(const std::string& pool) {
  std::unique_ptr<WorkQueue>& queue = launching_[pool];
  if (!queue) queue = std::make_unique<WorkQueue>();
  return *queue;
}

Launcher* Effects::LauncherOf(const std::string& pool) const {
  const auto launcher = parts_.launchers.find(pool);
  return launcher == parts_.launchers.end() ? nullptr : launcher->second;
}

void Effects::Launch(const core::LaunchWorker& effect) {
  const std::string& pool = effect.slot.host.pool;
  Launcher* launcher = LauncherOf(pool);
  const auto handle =
      launcher == nullptr
          ? absl::FailedPreconditionError(absl::StrCat("pool ", pool, " launches no workers"))
          : launcher->Launch(OrderOf(effect.launch, effect.slot, effect.runtime));
  if (handle.ok()) {
    spdlog::info("launched worker {} of pool {}: {}", effect.launch.value, pool, *handle);
    parts_.loop->Post(core::WorkerLaunched{effect.launch, *handle});
    return;
  }
  const std::string why(handle.status().message());
  spdlog::warn("cannot launch a worker of pool {}: {}", pool, why);
  const bool lasting = absl::IsFailedPrecondition(handle.status());
  parts_.loop->Post(core::WorkerLaunchFailed{
      effect.launch, lasting ? core::LaunchFault::kLasting : core::LaunchFault::kPassing, why});
}

void Effects::Adopt(const core::AdoptWorker& effect) {
  if (Launcher* launcher = LauncherOf(effect.slot.host.pool)) {
    const absl::Status status = launcher->Adopt(OrderOf(effect.launch, effect.slot), effect.handle);
    if (status.ok()) {
      spdlog::info("found worker {} again: {}", effect.launch.value, effect.handle);
      return;
    }
    spdlog::info("worker {} is gone: {}", effect.launch.value, std::string(status.message()));
  }
  parts_.loop->Post(core::WorkerExited{effect.launch, core::ExitKind::kUnknown, 0,
                                       "gone while no coordinator was there to see how"});
}

void Effects::Stop(const core::StopWorker& effect) {
  Launcher* launcher = LauncherOf(effect.slot.host.pool);
  // After a restart it may not be watched yet.
  if (launcher == nullptr ||
      !launcher->Adopt(OrderOf(effect.launch, effect.slot), effect.handle).ok()) {
    parts_.loop->Post(core::WorkerExited{effect.launch, core::ExitKind::kUnknown, 0,
                                         "gone before it was asked to stop"});
  } else if (effect.grace_ms > 0) {
    launcher->Stop(effect.launch.value, effect.grace_ms);
  } else {
    launcher->Kill(effect.launch.value);
  }
}

void Effects::RemoveStrays() {
  // Behind what each pool was told before, so that nothing of it counts as a stray.
  for (const auto& [pool, launcher] : parts_.launchers) {
    LaunchingIn(pool).Add([launcher = launcher] { launcher->RemoveStrays(); });
  }
}

void Effects::Drop(const core::DropCheckpoint& effect) {
  parts_.gateway->pending_uploads().UnlessPending(effect.sha256, [&] {
    const auto needed = parts_.records->IsSoundCheckpoint(effect.sha256);
    if (needed.ok() && !*needed) parts_.blobs->Remove(effect.sha256);
  });
  parts_.loop->Post(core::CheckpointDropped{effect.checkpoint});
}

}  // namespace trainyard::coordinator
