// The `docker` pool: every worker a container, on one Docker host or several, which live on when
// the coordinator dies.
//
// An exit is noticed through the event stream of each host. Thread-safe. Destroying the launcher
// ends no worker; nothing may be called meanwhile.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/launch/docker_workers.h"
#include "coordinator/launch/launcher.h"

namespace trainyard::coordinator {

class DockerLauncher final : public Launcher {
 public:
  // Returns before any host has answered: one that cannot be reached is told of by on_reach.
  static absl::StatusOr<std::unique_ptr<DockerLauncher>> Open(DockerPoolOptions options,
                                                              LaunchListener listener);

  void SetCoordinator(std::string address) override;
  absl::StatusOr<LaunchHandle> Launch(const LaunchOrder& order) override;
  absl::Status Adopt(const LaunchOrder& order, const LaunchHandle& handle) override;
  void Stop(int64_t launch, int64_t grace_ms) override;
  void Kill(int64_t launch) override;
  void RemoveStrays() override;
  std::string LogPath(int64_t launch) const override;

 private:
  DockerLauncher(DockerPoolOptions options, LaunchListener listener);
  absl::StatusOr<DockerWorkers*> HostOf(const LaunchOrder& order) const;

  const DockerPoolOptions options_;
  const LaunchListener listener_;

  std::mutex mutex_;
  std::string coordinator_;

  std::map<std::string, std::unique_ptr<DockerWorkers>> hosts_;  // by name; last, as they call
};

}  // namespace trainyard::coordinator
