// Asynchronous successive halving (Li et al.: "A System for Massively Parallel Hyperparameter
// Tuning", 2018). Trials are drawn at random and train to the lowest rung only; of those that have
// reached a rung, one in eta goes on to the next, eta times as far. A worker is never idle while
// something can be promoted or started.
//
// When no more trials may be started, a rung that nothing can reach any more is closed, and of a
// closed rung at least one goes on: so the best trial there is trains to its last epoch.
//
// The order of decisions is fixed, so that it does not hang on which trial was faster. Decisions
// have numbers; each sends one trial to one rung (a run), or finds nothing to do. Decision d looks
// at the runs of decisions up to d - parallel, all of which must be over, and at nothing else.
// Every call of Propose takes them again from the first on, and proposes those not carried out yet.
#pragma once

#include <vector>

#include "coordinator/core/request.h"

namespace trainyard::core {

// The epochs at which trials halt: min_epochs, eta times as many, and so on, as long as eta times
// more are still within `epochs`; then 0, for all of the epochs. One rung: {0}.
std::vector<int> Rungs(const TuningLimits& limits, int epochs);

}  // namespace trainyard::core
