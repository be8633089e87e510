// Every launcher there is, by pool: this machine's processes, and what the pools file names.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/event.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/launch/pools.h"
#include "coordinator/launch/process.h"

namespace trainyard::coordinator {

class DockerLauncher;
class SlurmLauncher;

inline constexpr char kProcessPool[] = "process";

// How a worker process ended, as the core hears it.
core::WorkerExited ToEvent(const WorkerExit& exit);

struct LaunchersOptions {
  ProcessPoolOptions process;
  std::vector<PoolConfig> pools;
  std::string coordinator_id;  // tells our workers from another coordinator's; lasting
  std::string folder;          // for logs
  // What the workers of a pool are given to be let in.
  std::function<AccessIssuer(const PoolConfig&)> issuer_of;
};

class Launchers {
 public:
  using Post = std::function<void(decltype(core::Event::what))>;

  // What launchers see is posted, from their own threads.
  static absl::StatusOr<std::unique_ptr<Launchers>> Open(LaunchersOptions options, Post post);
  ~Launchers();

  const std::map<std::string, Launcher*>& by_pool() const { return by_pool_; }

  // Where the workers of a pool look for their coordinator: known once it listens.
  void SetCoordinator(const std::string& pool, const std::string& address);

 private:
  explicit Launchers(Post post);
  absl::Status OpenPool(const LaunchersOptions& options, const PoolConfig& config);
  LaunchListener ListenerOf(const std::string& pool) const;

  const Post post_;
  std::map<std::string, Launcher*> by_pool_;
  std::unique_ptr<ProcessLauncher> process_;
  std::map<std::string, std::unique_ptr<DockerLauncher>> docker_;
  std::map<std::string, std::unique_ptr<SlurmLauncher>> slurm_;
};

}  // namespace trainyard::coordinator
