// A program of the user's as a process, with everything that descends from it.
//
// Descendants whose parents have ended, setsid or not, become children of this process, for it is a
// subreaper (AdoptOrphans); so whatever a program leaves behind is found and ended.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainyard::program {

struct Command {
  std::vector<std::string> argv;         // the first one is the path of a program
  std::vector<std::string> environment;  // "NAME=value", nothing is inherited
  std::string folder;                    // working directory
  bool keep_rights = false;              // capabilities, for a sandbox that needs them to be made
};

struct Exit {
  int code = 0;
  int signal = 0;  // that ended it; 0: it exited with `code`
};

// Where the command's program is: with a "/" as seen from `folder`, else on `path`. NOT_FOUND, or
// FAILED_PRECONDITION if it may not be run.
absl::StatusOr<std::string> FindProgram(const std::string& name, const std::string& path,
                                        const std::string& folder);

// From now on this process is the parent of its orphaned descendants.
absl::Status AdoptOrphans();

class Process {
 public:
  // Its input is empty, its output and errors go to one pipe, it has no capabilities,
  // and no descriptor of ours is open in it. FAILED_PRECONDITION: it cannot be run, and why.
  static absl::StatusOr<Process> Start(const Command& command);
  Process(Process&& other) noexcept;
  Process& operator=(Process&&) = delete;
  ~Process();  // kills

  // The end of the pipe to read from; the caller's from now on.
  int TakeOutput();

  // How it ended, if it does within `patience`.
  std::optional<Exit> Wait(std::chrono::milliseconds patience);

  // SIGTERM to the program's process group. `sandboxed`: to the group that the sandbox holds.
  void Terminate(bool sandboxed);

  // Ends it and everything that descends from this process, and waits until that is gone. Nothing
  // else of this process may have children.
  void KillAll();

 private:
  Process(pid_t pid, int handle, int output) : pid_(pid), handle_(handle), output_(output) {}

  pid_t pid_;
  int handle_;  // pidfd
  int output_;
  std::optional<Exit> exit_;
};

}  // namespace trainyard::program
