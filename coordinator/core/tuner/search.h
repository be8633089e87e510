// Searching a space: random, TPE and ASHA. What they have in common is here; each has its own file.
//
// Reproducible whatever finishes first: what trial n is follows from the job's seed, from n, from
// the trials before n, and from results of trials that must be over by then. With `parallel` trials
// at a time those are the trials up to n - parallel; while one of them still runs, nothing is
// proposed (Advice::wait). Nothing is kept between calls: after a crash the same trials follow.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/core/tuner/policy.h"
#include "coordinator/core/tuner/space.h"

namespace trainyard::core {

// Of kRandom, kTpe or kAsha.
const Policy& SearchPolicy(Algorithm algorithm);

// ---- For the searches. ----

class Search : public Policy {
 public:
  Finding Diagnose(const TrialHistory& trial, const Target& target) const override;
  Advice Propose(const TuningTask& task, int room) const override;

 private:
  // Adds what is to be started and promoted now. Returns why nothing is, for when nothing runs.
  virtual std::string Fill(const TuningTask& task, int room, Advice& advice) const = 0;
};

const Policy& RandomSearchInstance();
const Policy& TpeInstance();
const Policy& AshaInstance();

// How good the trial was within its first `epochs`, higher is better; 0: all of them. Of the best
// epoch, as a job's model is its best checkpoint. -infinity: no finite number.
double Score(const TrialHistory& trial, const Target& target, int epochs = 0);

// Makes trials of points, each a new one.
class Drafts {
 public:
  explicit Drafts(const TuningTask& task) : task_(task), space_(task.limits.space, first()) {}

  const Space& space() const { return space_; }
  int count() const { return static_cast<int>(task_.trials.size() + drawn_.size()); }
  // Whether the job may have another trial.
  bool MayStart() const {
    return !dry_ && (task_.limits.max_trials == 0 || count() < task_.limits.max_trials);
  }

  // The next trial, number count() + 1, at the first point of at(0), at(1), ... that gives a valid
  // configuration which no trial has yet. None after kRedraws: there are hardly any left, and
  // MayStart says no from then on.
  std::optional<NextTrial> Next(const std::function<Point(int redraw)>& at);
  std::optional<NextTrial> NextRandom();
  // Evenly over the space; a function of the job's seed and these two alone.
  Point RandomPoint(int number, int redraw) const;
  // Why no trial can be started.
  std::string WhyNot() const;

  static constexpr int kRedraws = 200;

 private:
  const network::Configuration& first() const { return task_.trials.front().configuration; }
  bool Tried(const network::Configuration& configuration) const;

  const TuningTask& task_;
  const Space space_;
  std::vector<network::Configuration> drawn_;
  bool dry_ = false;
};

}  // namespace trainyard::core
