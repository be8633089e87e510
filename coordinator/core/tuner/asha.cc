#include "coordinator/core/tuner/asha.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/core/tuner/search.h"

namespace trainyard::core {
namespace {

constexpr int kIdle = -1;

// A decision: this trial trains to this rung. kIdle: there was nothing to do.
struct Run {
  int trial = 0;
  int rung = kIdle;
};

// Takes the decisions again, from the first on.
class Replay {
 public:
  Replay(const TuningTask& task, int room, Advice& advice)
      : task_(task),
        room_(room),
        advice_(advice),
        drafts_(task),
        rungs_(Rungs(task.limits, task.trials.front().configuration.epochs())),
        level_(1, 0) {}

  // Returns why nothing was added.
  std::string Fill() {
    while (static_cast<int>(advice_.next.size() + advice_.promotions.size()) < room_) {
      const size_t parallel = static_cast<size_t>(std::max(1, task_.limits.parallel));
      usable_ = runs_.size() < parallel ? 0 : runs_.size() + 1 - parallel;
      const auto end = runs_.begin() + static_cast<int64_t>(usable_);
      if (!std::all_of(runs_.begin(), end, [this](const Run& run) { return Over(run); })) break;
      if (!Decide()) break;
    }
    return absl::StrCat("no halted trial is among the best of its rung, and ", drafts_.WhyNot());
  }

 private:
  int top() const { return static_cast<int>(rungs_.size()) - 1; }
  const TrialHistory& Trial(int number) const {
    return task_.trials[static_cast<size_t>(number - 1)];
  }
  bool Known(int number) const { return number <= static_cast<int>(task_.trials.size()); }
  int& Level(int number) { return level_[static_cast<size_t>(number)]; }

  // The highest rung that the trial was sent to, as its record has it.
  int SentTo(const TrialHistory& trial) const {
    if (trial.until_epoch == 0) return top();
    int rung = 0;
    while (rung < top() && trial.until_epoch > rungs_[static_cast<size_t>(rung)]) ++rung;
    return rung;
  }

  bool Over(const Run& run) const;
  bool Ended(const TrialHistory& trial) const {
    return trial.result != TrialResult::kRunning && trial.result != TrialResult::kHalted;
  }

  // Adds a run, and what it takes to carry it out. False: nothing will ever be left to do.
  bool Decide();
  void Promote(int trial, int rung);
  bool Start();
  // The best trial of the rung that may go on from it and has not; 0: none.
  int Promotable(int rung, bool closed);
  // Whether a run that is not looked at yet can reach this rung or a lower one.
  bool MayBeReached(int rung) const {
    return std::any_of(runs_.begin() + static_cast<int64_t>(usable_), runs_.end(),
                       [rung](const auto& run) { return run.rung != kIdle && run.rung <= rung; });
  }

  const TuningTask& task_;
  const int room_;
  Advice& advice_;
  Drafts drafts_;
  const std::vector<int> rungs_;
  std::vector<Run> runs_;   // one for each decision so far
  std::vector<int> level_;  // of each trial, by its number: the highest rung it was sent to
  int started_ = 0;         // trials, among the decisions so far
  size_t usable_ = 0;       // of runs_, by the decision that is being taken
};

bool Replay::Over(const Run& run) const {
  if (run.rung == kIdle) return true;
  if (!Known(run.trial)) return false;
  const TrialHistory& trial = Trial(run.trial);
  if (Ended(trial)) return true;
  return trial.result == TrialResult::kHalted ? SentTo(trial) >= run.rung
                                              : SentTo(trial) > run.rung;
}

int Replay::Promotable(int rung, bool closed) {
  struct Entrant {
    int trial;
    double score;
  };
  std::vector<Entrant> entrants;
  int all = 0;
  const int epochs = rungs_[static_cast<size_t>(rung)];
  for (size_t i = 0; i < usable_; ++i) {
    if (runs_[i].rung != rung) continue;
    ++all;
    const TrialHistory& trial = Trial(runs_[i].trial);
    const bool reached = static_cast<int>(trial.epochs.size()) >= epochs;
    const bool can_go_on = !Ended(trial) || SentTo(trial) > rung;
    const double score = Score(trial, task_.target, epochs);
    if (reached && can_go_on && std::isfinite(score)) entrants.push_back({trial.number, score});
  }
  std::stable_sort(entrants.begin(), entrants.end(), [](const Entrant& a, const Entrant& b) {
    return a.score != b.score ? a.score > b.score : a.trial < b.trial;
  });
  const int eta = std::max(2, task_.limits.eta);
  const size_t quota = static_cast<size_t>(closed ? (all + eta - 1) / eta : all / eta);
  for (size_t i = 0; i < std::min(quota, entrants.size()); ++i) {
    if (Level(entrants[i].trial) == rung) return entrants[i].trial;
  }
  return 0;
}

bool Replay::Decide() {
  const bool may_start = started_ < static_cast<int>(task_.trials.size()) || drafts_.MayStart();
  // From the lowest on: closed means that nothing will arrive any more, from outside or from below.
  std::vector<int> promotable;
  bool closed = !may_start;
  for (int rung = 0; rung < top(); ++rung) {
    closed = closed && !MayBeReached(rung) && (rung == 0 || promotable.back() == 0);
    promotable.push_back(Promotable(rung, closed));
  }
  for (int rung = top() - 1; rung >= 0; --rung) {
    const int trial = promotable[static_cast<size_t>(rung)];
    if (trial == 0) continue;
    Promote(trial, rung + 1);
    return true;
  }
  if (may_start) return Start() || Decide();
  const bool pending = MayBeReached(top());
  runs_.push_back({.rung = kIdle});
  return pending;
}

void Replay::Promote(int trial, int rung) {
  runs_.push_back({trial, rung});
  Level(trial) = rung;
  if (SentTo(Trial(trial)) < rung) {
    advice_.promotions.push_back({trial, rungs_[static_cast<size_t>(rung)]});
  }
}

bool Replay::Start() {
  const int number = started_ + 1;
  if (!Known(number)) {
    std::optional<NextTrial> next = drafts_.NextRandom();
    if (!next) return false;
    next->until_epoch = rungs_.front();
    next->tweak.finding.text = absl::StrCat("trial ", number, " of the search by halving (ASHA)");
    next->tweak.expectation =
        top() == 0 ? "none: it is drawn at random"
                   : absl::StrFormat("goes on after %d epochs if it is in the best 1/%d by then",
                                     rungs_.front(), std::max(2, task_.limits.eta));
    advice_.next.push_back(*std::move(next));
  }
  runs_.push_back({number, 0});
  level_.push_back(0);
  ++started_;
  return true;
}

class AshaPolicy : public Search {
 public:
  int FirstRung(const TuningLimits& limits) const override { return limits.min_epochs; }

 private:
  std::string Fill(const TuningTask& task, int room, Advice& advice) const override {
    return Replay(task, room, advice).Fill();
  }
};

}  // namespace

std::vector<int> Rungs(const TuningLimits& limits, int epochs) {
  std::vector<int> rungs;
  const int64_t eta = std::max(2, limits.eta);
  for (int64_t rung = std::max(1, limits.min_epochs); rung * eta <= epochs; rung *= eta) {
    rungs.push_back(static_cast<int>(rung));
  }
  rungs.push_back(0);
  return rungs;
}

const Policy& AshaInstance() {
  static const AshaPolicy policy;
  return policy;
}

}  // namespace trainyard::core
