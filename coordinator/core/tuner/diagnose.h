// Names what kept a trial from its target.
#pragma once

#include "coordinator/core/tuner/policy.h"

namespace trainyard::core {

Finding Diagnose(const TrialHistory& trial, const Target& target);

}  // namespace trainyard::core
