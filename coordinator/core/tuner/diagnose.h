// Names what kept a trial from its target.
#pragma once

#include "coordinator/core/tuner/policy.h"

namespace trainyard::core {

// As people read it.
Finding Diagnose(const TrialHistory& trial, const Target& target);

// What limits it, to choose moves by: as Diagnose, but for a target missed by less than the noise
// of the validation set what a larger miss would be put down to.
Finding Cause(const TrialHistory& trial, const Target& target);

}  // namespace trainyard::core
