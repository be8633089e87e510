// Where workers come from. A launcher starts worker processes, containers or cluster jobs, notices
// at once when one is gone, and finds those again that a coordinator before it started.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainyard::coordinator {

// How to find a launched worker again after the coordinator was restarted; opaque to everybody
// else. For a process: "pid start_time", the start time in clock ticks since boot, as /proc says
// it.
using LaunchHandle = std::string;

// One worker to be started, as the core decided it.
struct LaunchOrder {
  int64_t launch = 0;  // what it registers as
  std::string host;    // of the pool; empty: the pool has only one
  int slot = 0;        // of the host, from 0: which share of it, such as which GPU
  std::string runtime = "native";
};

struct WorkerExit {
  int64_t launch = 0;
  int exit_code = -1;  // -1: ended by `signal`, or unknown (an adopted process)
  int signal = 0;
  bool out_of_memory = false;  // it, or a process that it started, was killed for want of memory
  bool unknown = false;        // gone, and nobody can tell how
  std::string cause;  // for people: "killed by SIGKILL", "exit code 1", "out of memory: ...", ...
};

// What a launcher sees by itself; called on its own threads, and must not block.
struct LaunchListener {
  // Once per worker that was launched or adopted.
  std::function<void(const WorkerExit&)> on_exit;
  // Whenever a host is lost or found again. Lost is not dead: its workers are not reported as gone.
  // All hosts count as reachable at first. May be empty for launchers on this machine.
  std::function<void(const std::string& host, bool reachable, const std::string& why)> on_reach;
  // A worker that had to wait in a queue starts to run: what it may take until it registers counts
  // from here. At most once per launch and launcher, of adopted ones that run already too, and only
  // from launchers that queue. May be empty.
  std::function<void(int64_t launch)> on_started;
};

// What a worker is given so that the coordinator lets it in: the files of its access folder, by
// name ("token", "ca.pem", "cert.pem", "key.pem"). Empty: nobody asks for anything.
using AccessFiles = std::map<std::string, std::string>;
using AccessIssuer = std::function<absl::StatusOr<AccessFiles>(int64_t launch)>;

class Launcher {
 public:
  virtual ~Launcher() = default;
  // Where workers launched from now on look for their coordinator: known once it listens.
  virtual void SetCoordinator(std::string address) = 0;
  // Starts a worker. Performing it twice with the same number is harmless: the running one's handle
  // is returned. What went wrong decides what follows; the message names neither pool nor host,
  // which who hears of it knows:
  //   UNAVAILABLE          the host cannot be reached; on_reach tells when it can
  //   RESOURCE_EXHAUSTED   passing: its disk is full, it is out of memory
  //   FAILED_PRECONDITION  lasting, until somebody mends it: image or command missing, no GPU
  //                        runtime
  //   anything else        passing
  virtual absl::StatusOr<LaunchHandle> Launch(const LaunchOrder& order) = 0;
  // Watches a worker that another coordinator launched. NOT_FOUND if it no longer runs. Where the
  // host cannot be asked now it is watched as soon as it can be, and OK returned.
  virtual absl::Status Adopt(const LaunchOrder& order, const LaunchHandle& handle) = 0;
  // Asks it to checkpoint and leave (SIGTERM); after `grace_ms` it is killed.
  virtual void Stop(int64_t launch, int64_t grace_ms) = 0;
  virtual void Kill(int64_t launch) = 0;
  // Every worker that there should be has been launched or adopted: what else runs under this
  // coordinator's name is a stray, and ended, on hosts that come back later too.
  virtual void RemoveStrays() {}
  // Whether a launched worker may wait for hours until it starts: then on_started tells when.
  virtual bool queues() const { return false; }
  // Where its output is kept, on this machine.
  virtual std::string LogPath(int64_t launch) const = 0;
};

}  // namespace trainyard::coordinator
