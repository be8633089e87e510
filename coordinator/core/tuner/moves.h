// What the tuner can do about a finding.
#pragma once

#include <string>
#include <vector>

#include "coordinator/core/tuner/policy.h"

namespace trainyard::core {

// One or two things to change, with the reason and what to expect of it.
struct Move {
  network::Configuration configuration;
  std::string name;  // expectation.h
  std::string reason;
  std::string expectation;
  double gain = 0;  // of the target's metric, towards the target
  bool inherit = false;
};

// Every move that applies to `base` because of `finding` (one of what limits a trial:
// diagnose.h, Cause), the one that promises most first: priors times what this job's trials have
// taught. The list runs dry only when nothing is left. Not checked for validity, limits or novelty.
std::vector<Move> Moves(const TrialHistory& base, const Finding& finding, const TuningTask& task);

}  // namespace trainyard::core
