// trainyard-coordinator as a program: where it is, and one of our own as a child process.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

namespace trainyard::cli {

// Beside this program, or in PATH.
absl::StatusOr<std::string> FindCoordinator();

// A coordinator with workers of its own, which nobody else can reach: it listens on a socket in a
// private folder. It stops when this process ends, however that happens.
class CoordinatorProcess {
 public:
  struct Options {
    std::string state_dir;  // empty: a folder that goes with this object
    int threads = 0;        // of each worker; 0: the cores, shared out
    std::vector<std::string> data_roots;
    bool allow_programs = false;
    std::vector<std::string> program_paths;
  };

  // Returns when it answers. INVALID_ARGUMENT with its own words when it refuses to start,
  // CANCELLED after a signal that a SignalWatch has caught.
  static absl::StatusOr<std::unique_ptr<CoordinatorProcess>> Start(const Options& options);
  ~CoordinatorProcess();
  CoordinatorProcess(const CoordinatorProcess&) = delete;
  CoordinatorProcess& operator=(const CoordinatorProcess&) = delete;

  std::string address() const { return "unix:" + folder_ + "/socket"; }
  // Lets workers store checkpoints, and waits for the end. An error if it had ended before, or ends
  // otherwise; then its state is kept, and the message says where.
  absl::Status Stop();

 private:
  explicit CoordinatorProcess(std::string folder) : folder_(std::move(folder)) {}

  absl::Status Spawn(const std::string& program, const Options& options);
  absl::Status AwaitReady(int output);
  std::string LogTail() const;
  // "exit code 1", "signal 9".
  std::string Reap();

  const std::string folder_;  // private: the socket, and the state unless it is kept elsewhere
  std::string state_dir_, log_;
  pid_t pid_ = -1;
  bool keep_ = false;  // the folder
};

}  // namespace trainyard::cli
