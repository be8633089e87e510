// A spec's `tune`, to and from what the core knows of it.
#pragma once

#include "coordinator/core/request.h"
#include "trainyard/v1/spec.pb.h"

namespace trainyard::coordinator {

// All of TuningLimits but what follows from the job itself: architecture, convolutions and the
// limits of size.
v1::Tune ToTune(const core::TuningLimits& limits);
core::TuningLimits FromTune(const v1::Tune& tune);

}  // namespace trainyard::coordinator
