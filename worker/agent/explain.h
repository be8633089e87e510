// `trainyard-worker --explain FILE`: how this worker would compute a trial's network.
#pragma once

#include <string>

#include "kernels/backend.h"

namespace trainyard::agent {

// FILE is a trial's v1.Configuration as JSON, "-" for standard input. Prints engine::Explain's
// table to standard output, errors to standard error. Returns the exit code: kExitUsage for a file
// that is none, or a network that is not valid.
int ExplainFile(const std::string& file, const kernels::BackendOptions& options);

}  // namespace trainyard::agent
