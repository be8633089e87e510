// What must always be true of a state, and of a change from one to the next.
//
// Each answer is a list of violations in words; empty: all is well. CheckJob runs in production,
// for the jobs that a step touched and for all of them at a start; the others in simulation.
#pragma once

#include <string>
#include <vector>

#include "coordinator/core/state.h"
#include "coordinator/core/step.h"

namespace trainyard::core {

// One job and what belongs to it: references lead somewhere, states agree with each other, each
// epoch has one live row and no gap, what is to be continued from is sound.
std::vector<std::string> CheckJob(const State& state, const Job& job);

// All jobs; and workers, launches and attempts agree on who holds what.
std::vector<std::string> CheckState(const State& state);

// What may never happen between two states: numbers that shrink, ended records that change,
// retries that come back, live rows that vanish without a new attempt, lines of history that are
// missing; and every difference that the store would have to write stands in the changes.
std::vector<std::string> CheckDelta(const State& before, const State& after, const Result& result);

}  // namespace trainyard::core
