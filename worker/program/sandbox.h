// What a program is let see of this machine where it shares it with others: bubblewrap's job.
//
// Its own folders, the system's programs and libraries and its data read-only, a /tmp, /proc and
// /dev of its own; no other home, no state folder, no access files, and no network unless allowed.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/program/workspace.h"

namespace trainyard::program {

struct SandboxOptions {
  bool network = false;
  std::vector<std::string> folders;  // read-only: --program-path, and what is ours
};

// The path of bubblewrap, once it has shown that it can make a sandbox here; else why not, with
// what to do about it.
absl::StatusOr<std::string> ProbeBubblewrap();

// `argv` as bubblewrap runs it.
std::vector<std::string> InSandbox(const std::string& bubblewrap,
                                   const std::vector<std::string>& argv, const Workspace& space,
                                   const SandboxOptions& options);

}  // namespace trainyard::program
