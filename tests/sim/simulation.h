// One seed: the real core in a world of fakes that delay, drop, repeat, reorder, crash and restart.
//
// For the first `kFaultMs` of virtual time faults happen; then the world behaves, and everything
// has to end within a bound. After every step the core's invariants are checked, and the simulation
// keeps its own account of who may write what.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "coordinator/core/step.h"
#include "tests/coordinator/core/durable.h"
#include "tests/sim/worker.h"

namespace trainyard::sim {

// A deliberate mistake, to see that the simulation notices it.
enum class Mistake {
  kNone,
  kNoFencing,        // reports of a superseded attempt count for the one that replaced it
  kForgottenOutbox,  // after a restart nothing is asked for again
  kEffectsFirst,     // effects are performed before the commit
  kLostRecord,       // a changed checkpoint is not written
  kNoLeases,         // time passes without being told
  kDeletesShared,    // a dropped checkpoint's blob is deleted, whoever else needs it
  kLaunchesTwice,    // a repeated launch starts a second process
  kForgetsChanges,   // an attempt is not told how the trial was changed before
};

struct Options {
  uint64_t seed = 1;
  bool faults = true;
  Mistake mistake = Mistake::kNone;
  bool trace = false;  // hash every event and effect
};

// How often each thing happened.
using Coverage = std::map<std::string, int64_t>;

// A trial as it ended up, to be compared between runs.
struct TrialOutcome {
  network::Configuration configuration;
  std::vector<core::Adjustment> adjustments;
  uint64_t start_weights = 0;
  std::vector<core::Metrics> rows;
};
struct JobOutcome {
  core::JobState state = core::JobState::kQueued;
  bool touched = false;  // by people or faults that change the path, not only the way there
  std::string model;
  std::vector<TrialOutcome> trials;
};

struct Report {
  std::vector<std::string> violations;     // empty: all is well
  std::map<std::string, JobOutcome> jobs;  // by request key
  Coverage coverage;
  uint64_t trace_hash = 0;
  int64_t steps = 0;
  int64_t end_ms = 0;
  std::string last_steps;  // for people, if something is wrong
};

Report Simulate(const Options& options);

}  // namespace trainyard::sim
