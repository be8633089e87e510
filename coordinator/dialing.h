// Which of the coordinator's addresses each kind of worker dials.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/launch/pools.h"
#include "coordinator/rpc/server.h"

namespace trainyard::coordinator {

struct Dialled {
  std::string address;  // host:port or unix:path
  bool tls = false;
};

// Workers of this machine: the first plain listener, else the first, at its loopback address where
// it listens everywhere.
Dialled ForThisMachine(const std::vector<Listener>& listeners);

// Workers of a pool: what the pools file says, else a listener beyond the loopback interface, under
// a name by which it can be reached from there. INVALID_ARGUMENT, for people, if there is none.
absl::StatusOr<Dialled> ForPool(const PoolConfig& pool, const std::vector<Listener>& listeners);

}  // namespace trainyard::coordinator
