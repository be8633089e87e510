// The one function that decides: Step(state, event) -> what changed, and what to do.
//
// The caller's duties, in this order:
//   1. Set State::settings, load the records of the store, call Step with CoordinatorRecovered.
//   2. Step each event that waits, in the order in which they came; Add up the changes.
//   3. Write the changes in one transaction. If that fails, perform nothing: either write the same
//      changes again later, or end the process. What was not written never happened.
//   4. Perform the effects, in order, each harmless if performed twice. What comes of them is an
//      event.
//   5. Forget.
//
// Step never blocks, never fails and reads nothing but its arguments: the same state and events
// give the same results, byte for byte. What is wrong inside one job sets that job aside.
#pragma once

#include <vector>

#include "coordinator/core/effect.h"
#include "coordinator/core/event.h"
#include "coordinator/core/state.h"

namespace trainyard::core {

struct Result {
  Changes changes;
  std::vector<Effect> effects;
};

Result Step(State& state, const Event& event);

// Lets go of records that are over and were committed: ended jobs with what belongs to them,
// workers and launches that are gone, pushes taken, notices sent. Ids stay used.
void Forget(State& state);

// True for a record that a start need not load: nothing will happen to it any more. Notices and
// checkpoints that are to be dropped outlive their job, and are loaded without it.
bool Over(const Project& project);
bool Over(const Push& push);
bool Over(const Job& job);  // and with it its trials, attempts, epochs, and checkpoints to be kept
bool Over(const Worker& worker);
bool Over(const Launch& launch);
bool Over(const Notice& notice);

// What a queued attempt waits for, for people: "a GPU with 12.0 GiB: all 4 that suit are taken".
// Empty where it is not queued, or its job is paused.
std::string WhyWaiting(const State& state, const Attempt& attempt, int64_t now_ms);

// The job's training time so far, milliseconds, summed over the attempts of its trials.
int64_t TrainingTime(const State& state, const Job& job);

}  // namespace trainyard::core
