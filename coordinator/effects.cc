#include "coordinator/effects.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace trainyard::coordinator {

core::WorkerExited ToEvent(const WorkerExit& exit) {
  core::WorkerExited event{core::LaunchId{exit.launch}, core::ExitKind::kCode, exit.exit_code,
                           exit.cause};
  if (exit.unknown) {
    event.kind = core::ExitKind::kUnknown;
    event.number = 0;
  } else if (exit.out_of_memory) {
    event.kind = core::ExitKind::kOutOfMemory;
    event.number = exit.signal;
  } else if (exit.signal != 0) {
    event.kind = core::ExitKind::kSignal;
    event.number = exit.signal;
  }
  return event;
}

void Effects::Connect(Parts parts) { parts_ = std::move(parts); }

void Effects::Finish() {
  launching_.reset();
  files_.reset();
}

void Effects::Perform(const core::Effect& effect, const core::State& state) {
  if (parts_.gateway->Perform(effect, state)) return;
  if (const auto* prepare = std::get_if<core::PrepareSource>(&effect)) {
    const auto project = state.projects.find(prepare->project);
    if (project != state.projects.end()) parts_.watcher->Prepare(*prepare, project->second);
  } else if (const auto* launch = std::get_if<core::LaunchWorker>(&effect)) {
    launching_->Add([this, launch = *launch] { Launch(launch); });
  } else if (const auto* adopt = std::get_if<core::AdoptWorker>(&effect)) {
    launching_->Add([this, adopt = *adopt] { Adopt(adopt); });
  } else if (const auto* stop = std::get_if<core::StopWorker>(&effect)) {
    launching_->Add([this, stop = *stop] { Stop(stop); });
  } else if (const auto* drop = std::get_if<core::DropCheckpoint>(&effect)) {
    files_->Add([this, drop = *drop] { Drop(drop); });
  } else if (const auto* notice = std::get_if<core::Notify>(&effect)) {
    spdlog::info("job {}: {}", notice->job.value, notice->text);
    parts_.loop->Post(core::NoticeSent{notice->notice});
  } else if (std::holds_alternative<core::Quit>(effect)) {
    on_end_(absl::OkStatus());
  }
}

void Effects::Launch(const core::LaunchWorker& effect) {
  const auto launcher = parts_.launchers.find(effect.pool);
  const auto handle = launcher == parts_.launchers.end()
                          ? absl::FailedPreconditionError(
                                absl::StrCat("pool ", effect.pool, " launches no workers"))
                          : launcher->second->Launch({.launch = effect.launch.value});
  if (handle.ok()) {
    spdlog::info("launched worker {} of pool {}: process {}", effect.launch.value, effect.pool,
                 *handle);
    parts_.loop->Post(core::WorkerLaunched{effect.launch, *handle});
    return;
  }
  const std::string why(handle.status().message());
  spdlog::warn("cannot launch a worker of pool {}: {}", effect.pool, why);
  parts_.loop->Post(core::WorkerLaunchFailed{effect.launch, why});
}

void Effects::Adopt(const core::AdoptWorker& effect) {
  const auto launcher = parts_.launchers.find(effect.pool);
  if (launcher != parts_.launchers.end()) {
    const absl::Status status =
        launcher->second->Adopt({.launch = effect.launch.value}, effect.handle);
    if (status.ok()) {
      spdlog::info("found worker {} again: process {}", effect.launch.value, effect.handle);
      return;
    }
    spdlog::info("worker {} is gone: {}", effect.launch.value, std::string(status.message()));
  }
  parts_.loop->Post(core::WorkerExited{effect.launch, core::ExitKind::kUnknown, 0,
                                       "gone while no coordinator was there to see how"});
}

void Effects::Stop(const core::StopWorker& effect) {
  for (auto& [pool, launcher] : parts_.launchers) {
    // After a restart it may not be watched yet; the one launcher that knows it takes it.
    const absl::Status adopted = launcher->Adopt({.launch = effect.launch.value}, effect.handle);
    if (!adopted.ok()) continue;
    if (effect.grace_ms > 0) {
      launcher->Stop(effect.launch.value, effect.grace_ms);
    } else {
      launcher->Kill(effect.launch.value);
    }
    return;
  }
  parts_.loop->Post(core::WorkerExited{effect.launch, core::ExitKind::kUnknown, 0,
                                       "gone before it was asked to stop"});
}

void Effects::Drop(const core::DropCheckpoint& effect) {
  parts_.gateway->pending_uploads().UnlessPending(effect.sha256, [&] {
    const auto needed = parts_.records->IsSoundCheckpoint(effect.sha256);
    if (needed.ok() && !*needed) parts_.blobs->Remove(effect.sha256);
  });
  parts_.loop->Post(core::CheckpointDropped{effect.checkpoint});
}

}  // namespace trainyard::coordinator
