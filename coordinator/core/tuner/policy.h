// Decides what to try next: looks at all trials of a job, says why the last one missed its target,
// and names the trials to be started because of it.
//
// A policy is a pure function of its arguments: the same history gives the same advice. With
// trials in parallel the history that it may use is that of trials which are surely over by then,
// so that the advice does not hang on which of them happened to be faster: see search.h.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/core/event.h"
#include "coordinator/core/request.h"
#include "coordinator/core/tuner/tweak.h"
#include "network/training.h"

namespace trainyard::core {

enum class TrialResult {
  kCompleted,  // all epochs, or stopped early
  kDiverged,
  kOutOfMemory,
  kFailed,
  kHalted,   // at `until_epoch`: may be promoted
  kRunning,  // or queued
};

// What a trial was and how it went.
struct TrialHistory {
  int number = 0;
  network::Configuration configuration;  // as it started
  network::Configuration current;        // with its adjustments
  TrialResult result = TrialResult::kCompleted;
  std::vector<Metrics> epochs;     // the live rows, from epoch 1
  std::vector<int64_t> confusion;  // validation set, last epoch, row-major; may be empty
  bool inherited = false;          // started from the weights of `base`
  int base = 0;                    // number of the trial that it changed; 0: none
  std::string move;                // Tweak::move of what made it
  double expected_gain = 0;        // likewise
  int until_epoch = 0;             // Trial::until_epoch
  int adjustments = 0;             // made by the tuner or a person
  int rewinds = 0;

  bool broke() const {
    return result == TrialResult::kDiverged || result == TrialResult::kOutOfMemory;
  }
};

struct TuningTask {
  Target target;
  TuningLimits limits;
  std::vector<TrialHistory> trials;  // in order, at least one
  int last = 0;                      // number of the one that ended or halted last; 0: none has
  int64_t epochs_left = 0;           // of the budget; 0: no limit
  int64_t train_images = 0;          // 0: unknown

  // As if what runs ended as it stands.
  void EndRunning() {
    for (TrialHistory& trial : trials) {
      if (trial.result == TrialResult::kRunning) trial.result = TrialResult::kCompleted;
    }
  }
};

// A trial to be started.
struct NextTrial {
  int base = 0;         // number of the trial that it changes; 0: none
  bool inherit = true;  // starts from the base's weights, where the job's tuning says so
  network::Configuration configuration;
  int until_epoch = 0;
  Tweak tweak;  // how it differs from the base, and why
};

// A halted trial that goes on.
struct Promotion {
  int trial = 0;
  int until_epoch = 0;  // 0: to its last epoch
};

struct Advice {
  Finding finding;  // about the last trial
  std::vector<NextTrial> next;
  std::vector<Promotion> promotions;
  bool wait = false;  // what still runs decides what comes next
  std::string stop;   // nothing to start, nothing to wait for: why
};

// A change to a running trial.
struct Correction {
  bool stop = false;  // end it early
  network::Configuration configuration;
  Tweak tweak;
};

class Policy {
 public:
  virtual ~Policy() = default;

  // Why this trial came out as it did, with the numbers that say so.
  virtual Finding Diagnose(const TrialHistory& trial, const Target& target) const = 0;

  // At most `room` trials and promotions together. Each configuration is valid by
  // network::CheckNetwork and CheckTraining, within the limits, and equal to none in `task.trials`
  // or of the advice.
  virtual Advice Propose(const TuningTask& task, int room) const = 0;

  // Until which epoch trial 1 trains; 0: to its last.
  virtual int FirstRung(const TuningLimits&) const { return 0; }

  // Asked after each epoch of a running trial, with its rows so far. The configuration differs from
  // `current` in what can change in mid-run (network/adjust.h), or `stop` is set.
  virtual std::optional<Correction> Watch(const TuningTask&, const TrialHistory&) const {
    return std::nullopt;
  }

  // Asked when a trial's loss is no number any more and it has a good checkpoint: go on from there
  // with this configuration. None: the trial ends as diverged.
  virtual std::optional<Correction> Rescue(const TuningTask&, const TrialHistory&) const {
    return std::nullopt;
  }
};

// The policy of this algorithm.
const Policy& PolicyOf(Algorithm algorithm);

}  // namespace trainyard::core
