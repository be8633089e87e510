// Where workers come from. A launcher starts worker processes or containers, notices at once when
// one is gone, and finds those again that a coordinator before it started.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainyard::coordinator {

// How to find a launched worker again after the coordinator was restarted; opaque to everybody
// else. For a process: "pid start_time", the start time in clock ticks since boot, as /proc says
// it.
using LaunchHandle = std::string;

struct WorkerExit {
  int64_t launch = 0;
  int exit_code = -1;  // -1: ended by `signal`, or unknown (an adopted process)
  int signal = 0;
  bool out_of_memory = false;  // the kernel's counter of such kills grew when it was killed
  bool unknown = false;        // gone, and nobody can tell how: not our child
  std::string cause;  // for people: "killed by SIGKILL", "exit code 1", "out of memory", ...
};

class Launcher {
 public:
  using ExitCallback = std::function<void(const WorkerExit&)>;
  virtual ~Launcher() = default;
  // Starts a worker; it will register with `launch` as its number. Performing it twice with the
  // same number is harmless: the running one's handle is returned.
  virtual absl::StatusOr<LaunchHandle> Launch(int64_t launch) = 0;
  // Watches a worker that another coordinator launched. NOT_FOUND if it no longer runs.
  virtual absl::Status Adopt(int64_t launch, const LaunchHandle& handle) = 0;
  // Asks it to checkpoint and leave (SIGTERM); after `grace_ms` it is killed.
  virtual void Stop(int64_t launch, int64_t grace_ms) = 0;
  virtual void Kill(int64_t launch) = 0;
  virtual std::string LogPath(int64_t launch) const = 0;
};

}  // namespace trainyard::coordinator
