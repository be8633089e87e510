// Every launcher there is, by pool: this machine's processes, and what the pools file names.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/event.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/launch/pools.h"
#include "coordinator/launch/process.h"

namespace trainyard::coordinator {

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

  const std::map<std::string, Launcher*>& by_pool() const { return by_pool_; }

 private:
  explicit Launchers(Post post) : post_(std::move(post)) {}
  void Add(const std::string& pool, std::unique_ptr<Launcher> launcher);
  absl::Status OpenPool(const LaunchersOptions& options, const PoolConfig& config);
  LaunchListener ListenerOf(const std::string& pool) const;

  const Post post_;
  std::map<std::string, Launcher*> by_pool_;
  std::vector<std::unique_ptr<Launcher>> launchers_;  // last, as they call
};

}  // namespace trainyard::coordinator
