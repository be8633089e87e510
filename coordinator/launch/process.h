// The `process` pool: workers as processes of this machine, each in its own session, with a log
// file, living on when the coordinator dies.
//
// An exit is noticed at once through a pidfd, of processes that an earlier coordinator started too.
// Thread-safe. Destroying the launcher ends no worker.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/launch/process_identity.h"
#include "proto/memory_kills.h"

namespace trainyard::coordinator {

struct ProcessPoolOptions {
  std::string worker_binary;           // a path
  std::vector<std::string> arguments;  // for the worker
  std::string coordinator;             // "host:port", as TRAINYARD_COORDINATOR
  std::string folder;                  // for logs, slots and access; made if it is missing
  AccessIssuer issue_access;           // may be empty: nobody asks for anything
  // Their UUIDs: the worker in slot i sees the i-th and no other, those in slots beyond see none.
  // Empty: workers see what we see.
  std::vector<std::string> gpus = {};
};

class ProcessLauncher final : public Launcher {
 public:
  static absl::StatusOr<std::unique_ptr<ProcessLauncher>> Open(ProcessPoolOptions options,
                                                               LaunchListener listener);
  ~ProcessLauncher() override;

  void SetCoordinator(std::string address) override;
  absl::StatusOr<LaunchHandle> Launch(const LaunchOrder& order) override;
  absl::Status Adopt(const LaunchOrder& order, const LaunchHandle& handle) override;
  void Stop(int64_t launch, int64_t grace_ms) override;
  void Kill(int64_t launch) override;
  std::string LogPath(int64_t launch) const override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Watched {
    ProcessIdentity process;
    int pidfd = -1;
    std::optional<Clock::time_point> kill_at;  // when the grace time is over
    std::string killed_by_us;                  // why we sent SIGKILL; empty: we did not
  };

  ProcessLauncher(ProcessPoolOptions options, LaunchListener listener);
  std::string SlotPath(int64_t launch) const;
  std::string AccessPath(int64_t launch) const;
  absl::Status StartLocked(const LaunchOrder& order, int slot_fd, ProcessIdentity* process);
  absl::Status WatchLocked(int64_t launch, const ProcessIdentity& process);
  void KillLocked(Watched& watched, std::string why);
  void WakeUp();
  void Run();
  std::vector<WorkerExit> CollectExits(const std::vector<int64_t>& ready);
  WorkerExit Examine(int64_t launch, const Watched& watched) const;

  const ProcessPoolOptions options_;  // but for the coordinator's address
  const LaunchListener listener_;
  int wake_fd_ = -1;

  mutable std::mutex mutex_;
  std::string coordinator_;
  std::map<int64_t, Watched> watched_;
  bool stopping_ = false;
  MemoryKillWatch memory_kills_;

  std::thread thread_;
};

// What a worker needs of our environment, and nothing else: no tokens, no stray settings.
std::vector<std::string> WorkerEnvironment(const char* const* environment);

// Of the worker in that slot: with its GPU and no other, or with none.
void ShowGpu(const std::vector<std::string>& gpus, int slot, std::vector<std::string>* environment);

}  // namespace trainyard::coordinator
