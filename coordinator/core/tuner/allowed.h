// What no policy may propose.
#pragma once

#include "coordinator/core/request.h"
#include "network/training.h"

namespace trainyard::core {

// Valid by the checks of network/shapes.h, and within the job's limits of size.
bool Allowed(const TuningLimits& limits, const network::Configuration& configuration);

}  // namespace trainyard::core
