// The one interface behind which an attempt runs: `native` is our engine (native_runner.h).
#pragma once

#include <optional>

#include "trainyard/v1/worker.pb.h"
#include "worker/agent/attempt_control.h"
#include "worker/agent/uplink.h"

namespace trainyard::agent {

class AttemptRunner {
 public:
  virtual ~AttemptRunner() = default;

  // Runs the attempt on the calling thread and reports epochs, checkpoints and the finished model
  // through the uplink. Returns how it ended, or nothing if it was abandoned. Throws nothing.
  virtual std::optional<v1::AttemptEnded> Run(const v1::Start& start, Uplink& uplink,
                                              AttemptControl& control) = 0;
};

}  // namespace trainyard::agent
