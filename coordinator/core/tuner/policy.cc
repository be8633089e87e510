// Diagnose, pick the trial to build on, take the first move that is valid, allowed and new.
#include "coordinator/core/tuner/policy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/core/tuner/allowed.h"
#include "coordinator/core/tuner/changes.h"
#include "coordinator/core/tuner/curve.h"
#include "coordinator/core/tuner/diagnose.h"
#include "coordinator/core/tuner/moves.h"
#include "coordinator/core/tuner/search.h"

namespace trainyard::core {
namespace {

// The trial that came closest to the target; none if none has a finite number.
const TrialHistory* Closest(const TuningTask& task) {
  const TrialHistory* closest = nullptr;
  double best = 0;
  for (const TrialHistory& trial : task.trials) {
    const Curve curve = ReadCurve(trial, task.target);
    if (curve.epochs == 0 || (closest != nullptr && curve.best <= best)) continue;
    closest = &trial;
    best = curve.best;
  }
  return closest;
}

// Fits the epochs into what the budget leaves, and what hangs on them.
void FitBudget(const TuningTask& task, network::Configuration& configuration) {
  if (configuration.IsProgram()) {
    int& epochs = configuration.changes.epochs;  // 0: the program's own number, which is not known
    if (task.epochs_left > 0) {
      epochs = static_cast<int>(std::min<int64_t>(epochs, task.epochs_left));
    }
    return;
  }
  network::Training& training = configuration.training;
  if (task.epochs_left > 0) {
    training.epochs = static_cast<int>(std::min<int64_t>(training.epochs, task.epochs_left));
  }
  network::Schedule& schedule = training.schedule;
  schedule.warmup_epochs = std::min(schedule.warmup_epochs, double(training.epochs));
  if (schedule.kind == network::ScheduleKind::kOneCycle) schedule.warmup_epochs = 0;
}

bool Tried(const TuningTask& task, const network::Configuration& configuration) {
  return std::any_of(task.trials.begin(), task.trials.end(), [&](const TrialHistory& trial) {
    return trial.configuration == configuration;
  });
}

class CurvePolicy : public Policy {
 public:
  Finding Diagnose(const TrialHistory& trial, const Target& target) const override {
    return core::Diagnose(trial, target);
  }

  Advice Propose(const TuningTask& task, int) const override {
    Advice advice;
    const bool running = std::any_of(task.trials.begin(), task.trials.end(), [](const auto& trial) {
      return trial.result == TrialResult::kRunning;
    });
    if (running) {
      advice.wait = true;
      return advice;
    }
    const TrialHistory& last = task.trials.at(static_cast<size_t>(task.last - 1));
    advice.finding = core::Diagnose(last, task.target);
    const FindingKind kind = advice.finding.kind;
    const bool broke = kind == FindingKind::kDiverged || kind == FindingKind::kOutOfMemory;
    // What broke is worth repairing; only then another way from the best trial.
    if (broke && Try(task, last, advice.finding, advice)) {
      // Weights of a run that diverged were on their way there.
      advice.next.back().inherit = kind != FindingKind::kDiverged;
      return advice;
    }
    const TrialHistory* closest = Closest(task);
    if (closest != nullptr) {
      Finding finding = core::Diagnose(*closest, task.target);
      if (closest->number != last.number) {
        finding.text = absl::StrCat("trial ", last.number, " came no closer (", advice.finding.text,
                                    "); trial ", closest->number, ": ", finding.text);
      }
      if (Try(task, *closest, finding, advice)) return advice;
    }
    advice.stop = absl::StrCat(
        "every change that this finding suggests was tried, is invalid or "
        "exceeds the limits (",
        advice.finding.text, ")");
    return advice;
  }

 private:
  static bool Try(const TuningTask& task, const TrialHistory& base, const Finding& finding,
                  Advice& advice) {
    for (Move& move : Moves(base, finding, task)) {
      FitBudget(task, move.configuration);
      if (Tried(task, move.configuration) || !Allowed(task.limits, move.configuration)) continue;
      NextTrial& next = advice.next.emplace_back();
      next.base = base.number;
      next.tweak = {.finding = finding,
                    .reason = std::move(move.reason),
                    .expectation = std::move(move.expectation),
                    .changes = Difference(base.configuration, move.configuration),
                    .base = base.number};
      next.configuration = std::move(move.configuration);
      return true;
    }
    return false;
  }
};

}  // namespace

const Policy& PolicyOf(Algorithm algorithm) {
  if (algorithm != Algorithm::kDiagnose) return SearchPolicy(algorithm);
  static const CurvePolicy policy;
  return policy;
}

}  // namespace trainyard::core
