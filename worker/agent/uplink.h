// What an attempt needs of the connection to the coordinator. The session is one; tests have
// others.
#pragma once

#include <chrono>

#include "trainyard/v1/worker.pb.h"
#include "worker/agent/attempt_control.h"

namespace trainyard::agent {

class Uplink {
 public:
  virtual ~Uplink() = default;

  // Takes over a report (epoch, checkpoint, adjusted, finished) of the attempt that is held; it is
  // sent, and sent again after a cut-off, until the coordinator has acknowledged it. Waits while
  // too many of them are unacknowledged, and drops the report once the attempt is abandoned.
  virtual void Report(v1::WorkerMessage report, AttemptControl& control) = 0;

  // Publishing stops with the lease: waits up to `timeout` until the attempt's lease holds, and
  // returns whether it does.
  virtual bool WaitForLease(std::chrono::milliseconds timeout) = 0;
};

}  // namespace trainyard::agent
