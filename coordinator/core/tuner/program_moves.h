// What the tuner can do about a finding where a program of the user's trains: what is changed of it
// from outside (network::ProgramChanges).
#pragma once

#include <vector>

#include "coordinator/core/tuner/moves.h"

namespace trainyard::core {

// As Moves(), for a base that is a program. Where TuningLimits::architecture is off, only epochs,
// learning rate and batch size are touched, which any program can read.
std::vector<Move> ProgramMoves(const TrialHistory& base, const Finding& finding,
                               const TuningTask& task);

}  // namespace trainyard::core
