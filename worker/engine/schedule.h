// The learning rate as a pure function of the step: whoever continues a run at step s gets the rate
// that an undisturbed run has there.
#pragma once

#include <cstdint>

#include "network/training.h"

namespace trainyard::engine {

// Rate of optimizer step `step`, counted from 0 over the whole trial, of `epochs` epochs of
// `steps_per_epoch` steps. Formulas: network/training.h, taken at the middle of the step
// (step + 1/2), so that no step's rate is 0 by construction. Warm-up over w steps gives the rate
// at its end times (step + 1/2) / w; cosine then falls over what is left of the epochs.
double LearningRate(const network::Schedule& schedule, double peak, int64_t step,
                    int64_t steps_per_epoch, int epochs);

}  // namespace trainyard::engine
