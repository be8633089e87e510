// Decides what to try next: looks at all trials of a job, says why the last one missed its target,
// and changes one or two things of the best one because of it.
//
// A policy is a pure function of its arguments: the same history gives the same advice.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/core/event.h"
#include "coordinator/core/request.h"
#include "coordinator/core/tuner/tweak.h"
#include "network/training.h"

namespace trainyard::core {

enum class TrialResult { kCompleted, kDiverged, kOutOfMemory, kFailed };

// What a trial was and how it went.
struct TrialHistory {
  int number = 0;
  network::Configuration configuration;
  TrialResult result = TrialResult::kCompleted;
  std::vector<Metrics> epochs;  // the live rows, from epoch 1
  bool inherited = false;       // started from another trial's weights
};

struct TuningTask {
  Target target;
  TuningLimits limits;
  std::vector<TrialHistory> trials;  // in order, at least one; the last one just ended
  int64_t epochs_left = 0;           // of the budget; 0: no limit
  int64_t train_images = 0;          // 0: unknown
};

// What to do next, or why nothing is left to be tried.
struct Advice {
  Finding finding;  // about the last trial
  int base = 0;     // number of the trial that the next one changes, and whose weights it inherits
  bool fresh = false;  // don't inherit: the weights of the base are of no use
  std::optional<network::Configuration> configuration;  // none: stop
  Tweak tweak;                                          // how it differs from the base, and why
  std::string stop;                                     // why nothing is proposed
};

class Policy {
 public:
  virtual ~Policy() = default;

  // Why this trial came out as it did, with the numbers that say so.
  virtual Finding Diagnose(const TrialHistory& trial, const Target& target) const = 0;

  // The next configuration: valid by network::CheckNetwork and CheckTraining, within the limits,
  // and equal to none in `task.trials`.
  virtual Advice Propose(const TuningTask& task) const = 0;
};

// The policy that jobs use.
const Policy& DefaultPolicy();

}  // namespace trainyard::core
