// Runs a program to its end, without a shell, with a time limit and a cap on what it may say.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace trainyard::coordinator {

struct CommandRequest {
  std::string program;                   // absolute path
  std::vector<std::string> arguments;    // without the program's name
  std::vector<std::string> environment;  // "NAME=value", nothing is inherited
  int64_t timeout_ms = 10'000;
  size_t output_max = 4 << 20;  // of each stream; what is beyond is thrown away
  int cancel_fd = -1;           // readable: give up at once
};

struct CommandResult {
  int exit_code = -1;  // -1: ended by a signal
  int signal = 0;
  bool timed_out = false;  // killed, with whatever it had started
  bool cancelled = false;  // likewise
  std::string output;
  std::string errors;
  bool ok() const { return exit_code == 0; }
};

// NOT_FOUND or FAILED_PRECONDITION if the program cannot be run, with its path. Its input is empty,
// its signals have their default meaning, and no other descriptor of ours is open in it.
absl::StatusOr<CommandResult> RunCommand(const CommandRequest& request);

// Where the program of this name lies: in `folder`, or without one in the folders of `path`, which
// is like the variable PATH. NOT_FOUND says where was looked.
absl::StatusOr<std::string> FindProgram(const std::string& name, const std::string& folder,
                                        const std::string& path);

}  // namespace trainyard::coordinator
