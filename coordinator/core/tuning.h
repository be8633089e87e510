// What the tuner knows of a job and would do about it now. Pure reads of the state; what follows
// from them is next.cc.
#pragma once

#include <string>

#include "coordinator/core/state.h"
#include "coordinator/core/tuner/policy.h"

namespace trainyard::core {

// The job's trials as policies see them. `last`: the trial that ended or halted last; none: zero.
TuningTask TaskOf(const State& state, const Job& job, TrialId last);
TrialHistory HistoryOf(const State& state, const Trial& trial);

// What the tuner would start if the trials that run now ended as they stand. For people who ask.
Advice Advise(const State& state, const Job& job);

// What becomes of a correction that was asked for when so many steps of an epoch's end were done:
// the change, in a fixed place of the next epoch, so that it hangs on the curve and not on when it
// was told. None: only another trial could have it.
std::optional<Adjustment> AdjustmentFor(const Correction& correction,
                                        const network::Configuration& current, int64_t step,
                                        int64_t steps_per_epoch);

// "; next it would try: ...", as if there were no limit to the budget; empty: it has no idea.
std::string NextTry(const State& state, const Job& job);

// How much better than its base the trial came out, towards the target; none: one of them never
// said.
std::optional<double> GainOf(const State& state, const Trial& trial);

// That the job may have at all; 0: no limit.
int TrialsMax(const Job& job);

// The trial of this number, or nullptr.
const Trial* TrialOf(const State& state, const Job& job, int number);

// Trials with an attempt that has not ended, in order.
std::vector<TrialId> Going(const State& state, const Job& job);

// Of a job that waits: the trial that its proposal changes; without one, the newest.
const Trial& BaseOfProposal(const State& state, const Job& job);

// What a person's changes start from: the proposal, else the named trial with its adjustments.
// `trial`: its number; 0: the newest.
const network::Configuration& BaseForTweak(const State& state, const Job& job, int trial = 0);

}  // namespace trainyard::core
