// Events and effects as lines of text, both ways; and a state in a few lines.
//
//   epoch_reported claim=1/1/1 epoch=3 step=300 val=0.91
//
// A claim is worker/attempt/fencing; text with spaces stands in double quotes; what is left out has
// its default.
#pragma once

#include <string>

#include "coordinator/core/effect.h"
#include "coordinator/core/event.h"
#include "coordinator/core/state.h"

namespace trainyard::core {

// A small network for 28x28 images of 10 classes, target 0.9, three epochs.
JobRequest SampleRequest();

std::string Text(const Event& event);  // without the times
std::string Text(const Effect& effect);

// One line each for jobs, trials, attempts that have not ended, and checkpoints.
std::string Text(const State& state);

// The event of a line. Throws std::invalid_argument with what is wrong.
Event ParseEvent(const std::string& line);

}  // namespace trainyard::core
