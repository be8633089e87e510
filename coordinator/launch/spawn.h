// Starts a program in a session of its own, so that it outlives whoever started it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/launch/process_identity.h"

namespace trainyard::coordinator {

struct SpawnRequest {
  std::string program;                   // absolute path
  std::vector<std::string> arguments;    // without the program's name
  std::vector<std::string> environment;  // "NAME=value", nothing is inherited
  std::string folder;                    // working directory
  std::string log_path;                  // appended to: standard output and error; input is empty
  // An open file with a flock on it. The program inherits the lock as descriptor 3 and holds it
  // while it lives; before it runs, its own identity is written there as a handle.
  int slot_fd = -1;
};

// Returns when the program runs (or failed to: then the status says why, with the path). Signal
// mask and dispositions are the default ones, and no other descriptor of ours is left open in it.
absl::StatusOr<ProcessIdentity> Spawn(const SpawnRequest& request);

}  // namespace trainyard::coordinator
