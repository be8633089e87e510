// How a backend computes a network: what each op became.
#pragma once

#include <string>

#include "kernels/backend.h"
#include "network/training.h"

namespace trainyard::engine {

// For people: what the program's results depend on, the batch, parameters and memory; then a line
// for each op that makes a pass of its own (kernels::Program::Explain). Lowers the network, but
// trains nothing. The precision is the configuration's. Requires what MakePlan requires; throws
// kernels::Error where it cannot be lowered.
std::string Explain(const network::Configuration& configuration, kernels::BackendOptions options);

}  // namespace trainyard::engine
