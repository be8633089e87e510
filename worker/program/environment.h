// What a program finds in its environment.
#pragma once

#include <string>
#include <vector>

#include "worker/program/program_runner.h"
#include "worker/program/workspace.h"

namespace trainyard::program {

// Where its command is looked for: the folders of --program-path, then the worker's own PATH.
std::string ProgramPath(const ProgramOptions& options);

// The whole of it, "NAME=value". `resume_from`: empty on a first start.
std::vector<std::string> ProgramEnvironment(const v1::Start& start, const ProgramOptions& options,
                                            const Workspace& space, const std::string& resume_from);

}  // namespace trainyard::program
