// What the tuner can do about a finding, best idea first.
#pragma once

#include <string>
#include <vector>

#include "coordinator/core/tuner/policy.h"

namespace trainyard::core {

// One or two things to change, with the reason and what to expect of it.
struct Move {
  network::Configuration configuration;
  std::string reason;
  std::string expectation;
};

// Every move that applies to `base` because of `finding`, then every other that might help, so that
// the list runs dry only when nothing is left. Not checked for validity, limits or novelty.
std::vector<Move> Moves(const TrialHistory& base, const Finding& finding, const TuningTask& task);

}  // namespace trainyard::core
