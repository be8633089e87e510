// Diagnose, pick the trial to build on, take the moves that promise most and are valid, allowed and
// new.
#include "coordinator/core/tuner/curve_policy.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/core/tuner/allowed.h"
#include "coordinator/core/tuner/changes.h"
#include "coordinator/core/tuner/curve.h"
#include "coordinator/core/tuner/diagnose.h"
#include "coordinator/core/tuner/expectation.h"
#include "coordinator/core/tuner/moves.h"
#include "coordinator/core/tuner/watch.h"

namespace trainyard::core {
namespace {

constexpr size_t kTrialsMax = 100;  // more of one job are a search, not a diagnosis
constexpr int kRepairsMax = 3;      // in a row of what broke

// The trial that came closest to the target, and of those that did not break, if there is one; none
// if none has a finite number.
const TrialHistory* Closest(const TuningTask& task) {
  const TrialHistory* closest = nullptr;
  double best = 0;
  for (const bool broken : {false, true}) {
    for (const TrialHistory& trial : task.trials) {
      const Curve curve = ReadCurve(trial, task.target);
      if (trial.broke() != broken || curve.epochs == 0) continue;
      if (closest != nullptr && curve.best <= best) continue;
      closest = &trial;
      best = curve.best;
    }
    if (closest != nullptr) break;
  }
  return closest;
}

const TrialHistory* Find(const TuningTask& task, int number) {
  const auto found = std::ranges::find(task.trials, number, &TrialHistory::number);
  return found == task.trials.end() ? nullptr : &*found;
}

// Fits the epochs into what the budget leaves, and what hangs on them.
void FitBudget(int64_t epochs_left, network::Configuration& configuration) {
  const auto fit = [&](int epochs) {
    return epochs_left > 0 ? static_cast<int>(std::min<int64_t>(epochs, epochs_left)) : epochs;
  };
  if (configuration.IsProgram()) {
    int& epochs = configuration.changes.epochs;  // 0: the program's own number, which is not known
    epochs = fit(epochs);
    return;
  }
  network::Training& training = configuration.training;
  training.epochs = fit(training.epochs);
  network::Schedule& schedule = training.schedule;
  schedule.warmup_epochs = std::min(schedule.warmup_epochs, double(training.epochs));
  if (schedule.kind == network::ScheduleKind::kOneCycle) schedule.warmup_epochs = 0;
}

// Fills an advice up with trials.
class Round {
 public:
  Round(const TuningTask& task, int room, Advice& advice)
      : task_(task), room_(room), epochs_left_(task.epochs_left), advice_(advice) {}

  bool full() const {
    return static_cast<int>(advice_.next.size()) >= room_ ||
           (task_.epochs_left > 0 && epochs_left_ <= 0);
  }

  // The best moves on `base` because of `finding`, first of each kind one, then any; at most
  // `most`.
  void Take(const TrialHistory& base, const Finding& finding, int most) {
    std::vector<Move> moves = Moves(base, finding, task_);
    std::set<std::string> kinds;
    for (const bool any : {false, true}) {
      for (Move& move : moves) {
        if (full() || most <= 0) return;
        if (!any && kinds.contains(move.name)) continue;
        if (!Start(base, finding, move)) continue;
        kinds.insert(move.name);
        --most;
      }
    }
  }

 private:
  bool Start(const TrialHistory& broken_or_best, const Finding& finding, const Move& move) {
    network::Configuration configuration = move.configuration;
    FitBudget(epochs_left_, configuration);
    if (Tried(configuration) || !Allowed(task_.limits, configuration)) return false;
    // Where the weights of what broke are worth nothing, those that it started from still are.
    const TrialHistory* base = &broken_or_best;
    bool inherit = move.inherit;
    if (!inherit && base->broke() && base->inherited) {
      const TrialHistory* before = Find(task_, base->base);
      inherit = before != nullptr && !before->broke();
      if (inherit) base = before;
    }
    epochs_left_ -= configuration.epochs();
    NextTrial& next = advice_.next.emplace_back();
    next.base = base->number;
    next.inherit = inherit;
    next.tweak = {.finding = finding,
                  .reason = move.reason,
                  .expectation = move.expectation,
                  .changes = Difference(base->current, configuration),
                  .move = move.name,
                  .base = base->number,
                  .expected_gain = move.gain};
    if (base != &broken_or_best) {
      // What was expected is told from where the broken trial stood.
      next.tweak.expectation.resize(std::min(move.expectation.find("; "), move.expectation.size()));
      next.tweak.expected_gain = 0;
    }
    next.configuration = std::move(configuration);
    return true;
  }

  bool Tried(const network::Configuration& configuration) const {
    return std::ranges::any_of(task_.trials,
                               [&](const TrialHistory& trial) {
                                 return trial.configuration == configuration ||
                                        trial.current == configuration;
                               }) ||
           std::ranges::find(advice_.next, configuration, &NextTrial::configuration) !=
               advice_.next.end();
  }

  const TuningTask& task_;
  const int room_;
  int64_t epochs_left_;
  Advice& advice_;
};

// What broke is worth repairing, unless it has been repaired for long or a larger step broke it.
bool WorthRepairing(const TuningTask& task, const TrialHistory& last) {
  if (!last.broke() || last.move == kRaiseRate) return false;
  int broken = 0;
  for (auto trial = task.trials.rbegin(); trial != task.trials.rend() && trial->broke(); ++trial) {
    ++broken;
  }
  return broken <= kRepairsMax;
}

class CurvePolicy : public Policy {
 public:
  Finding Diagnose(const TrialHistory& trial, const Target& target) const override {
    return core::Diagnose(trial, target);
  }

  Advice Propose(const TuningTask& task, int room) const override {
    Advice advice;
    const TrialHistory* last = Find(task, task.last);
    if (last != nullptr) advice.finding = core::Diagnose(*last, task.target);
    advice.wait = std::ranges::any_of(task.trials, [](const TrialHistory& trial) {
      return trial.result == TrialResult::kRunning;
    });
    if (advice.wait) return advice;
    if (task.trials.size() >= kTrialsMax) {
      advice.stop = absl::StrCat("no end after ", task.trials.size(), " trials");
      return advice;
    }
    Round round(task, room, advice);
    if (last != nullptr && WorthRepairing(task, *last)) round.Take(*last, advice.finding, 1);
    const TrialHistory* closest = Closest(task);
    if (closest != nullptr && !round.full()) {
      Finding finding = core::Diagnose(*closest, task.target);
      if (last != nullptr && closest->number != last->number) {
        finding.text =
            absl::StrCat("trial ", last->number, " came no closer (", advice.finding.text,
                         "); trial ", closest->number, ": ", finding.text);
      }
      round.Take(*closest, finding, room);
    }
    if (advice.next.empty()) {
      advice.stop = absl::StrCat(
          "every change that this finding suggests was tried, is invalid or exceeds the limits (",
          advice.finding.text, ")");
    }
    return advice;
  }

  std::optional<Correction> Watch(const TuningTask& task,
                                  const TrialHistory& trial) const override {
    return WatchTrial(task, trial, [&] { return MoreToTry(task, trial); });
  }

  std::optional<Correction> Rescue(const TuningTask& task,
                                   const TrialHistory& trial) const override {
    return RescueTrial(task, trial);
  }

 private:
  // Whether something would follow, were this trial ended as it stands.
  bool MoreToTry(TuningTask task, const TrialHistory& trial) const {
    const int trials = static_cast<int>(task.trials.size());
    if (!task.limits.enabled) return false;
    if (task.limits.max_trials > 0 && trials >= task.limits.max_trials) return false;
    task.last = trial.number;
    task.EndRunning();
    return !Propose(task, 1).next.empty();
  }
};

}  // namespace

const Policy& DiagnosingPolicy() {
  static const CurvePolicy policy;
  return policy;
}

}  // namespace trainyard::core
