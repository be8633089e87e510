#include "coordinator/launch/launchers.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "coordinator/launch/docker.h"
#include "coordinator/launch/slurm.h"

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

absl::StatusOr<std::unique_ptr<Launchers>> Launchers::Open(LaunchersOptions options, Post post) {
  std::unique_ptr<Launchers> launchers(new Launchers(std::move(post)));
  auto process =
      ProcessLauncher::Open(std::move(options.process), launchers->ListenerOf(kProcessPool));
  if (!process.ok()) return process.status();
  launchers->Add(kProcessPool, *std::move(process));
  for (const PoolConfig& config : options.pools) {
    if (auto status = launchers->OpenPool(options, config); !status.ok()) return status;
  }
  return launchers;
}

void Launchers::Add(const std::string& pool, std::unique_ptr<Launcher> launcher) {
  by_pool_[pool] = launcher.get();
  launchers_.push_back(std::move(launcher));
}

absl::Status Launchers::OpenPool(const LaunchersOptions& options, const PoolConfig& config) {
  if (const auto* docker = std::get_if<DockerPool>(&config.kind)) {
    auto launcher = DockerLauncher::Open({.name = config.name,
                                          .pool = *docker,
                                          .data_roots = config.data_roots,
                                          .coordinator = "",
                                          .coordinator_id = options.coordinator_id,
                                          .folder = options.folder,
                                          .access = options.issuer_of(config)},
                                         ListenerOf(config.name));
    if (!launcher.ok()) return launcher.status();
    Add(config.name, *std::move(launcher));
    return absl::OkStatus();
  }
  auto launcher = SlurmLauncher::Open({.name = config.name,
                                       .pool = std::get<SlurmPool>(config.kind),
                                       .coordinator = "",
                                       .coordinator_id = options.coordinator_id,
                                       .access = options.issuer_of(config)},
                                      ListenerOf(config.name));
  if (!launcher.ok()) return launcher.status();
  Add(config.name, *std::move(launcher));
  return absl::OkStatus();
}

LaunchListener Launchers::ListenerOf(const std::string& pool) const {
  LaunchListener listener;
  listener.on_exit = [this](const WorkerExit& exit) {
    spdlog::info("worker {} ended: {}", exit.launch, exit.cause);
    post_(ToEvent(exit));
  };
  listener.on_reach = [this, pool](const std::string& host, bool reachable,
                                   const std::string& why) {
    if (reachable) {
      spdlog::info("pool {}: {} can be reached again", pool, host);
      post_(core::HostFound{{pool, host}});
    } else {
      spdlog::warn("pool {}: {} cannot be reached: {}", pool, host, why);
      post_(core::HostLost{{pool, host}, why});
    }
  };
  listener.on_started = [this](int64_t launch) {
    post_(core::LaunchStarted{core::LaunchId{launch}});
  };
  return listener;
}

}  // namespace trainyard::coordinator
