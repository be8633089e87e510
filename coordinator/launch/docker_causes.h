// Why a container did not start, and how one ended: from what Docker says to launcher.h's terms and
// to words for people.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "coordinator/launch/docker_answers.h"
#include "coordinator/launch/launcher.h"

namespace trainyard::coordinator {

// A request that the engine refused while it made or started a container for `image`.
absl::Status ExplainRefusal(const HttpReply& reply, const std::string& image);

// What is known beside the container's own state.
struct ExitFacts {
  int64_t memory_bytes = 0;  // its limit; 0: none
  bool oom_seen = false;     // the engine told of a process that was killed for want of memory
  bool kill_seen = false;    // somebody asked the engine to kill it
  std::string killed_by_us;  // why we did; empty: we did not
};

// How a container that has ended did. Docker tells a process killed by signal N by exit code 128+N,
// which a process may return by itself too: it is taken for the signal.
WorkerExit DescribeExit(int64_t launch, int exit_code, bool oom_killed, const ExitFacts& facts);

// A container that is gone, and nobody can tell how.
WorkerExit DescribeLoss(int64_t launch, const std::string& why);

}  // namespace trainyard::coordinator
