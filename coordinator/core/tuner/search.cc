#include "coordinator/core/tuner/search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/core/ranking.h"
#include "coordinator/core/tuner/allowed.h"
#include "coordinator/core/tuner/changes.h"
#include "coordinator/core/tuner/diagnose.h"
#include "coordinator/core/tuner/draw.h"

namespace trainyard::core {
namespace {

class RandomSearch : public Search {
  std::string Fill(const TuningTask& task, int room, Advice& advice) const override {
    Drafts drafts(task);
    while (static_cast<int>(advice.next.size()) < room && drafts.MayStart()) {
      const int number = drafts.count() + 1;
      std::optional<NextTrial> next = drafts.NextRandom();
      if (!next) break;
      next->tweak.finding.text = absl::StrCat("trial ", number, " of the random search");
      next->tweak.expectation = "none: a random search learns nothing from the trials before";
      advice.next.push_back(*std::move(next));
    }
    return drafts.WhyNot();
  }
};

}  // namespace

const Policy& RandomSearchInstance() {
  static const RandomSearch policy;
  return policy;
}

const Policy& SearchPolicy(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kTpe:
      return TpeInstance();
    case Algorithm::kAsha:
      return AshaInstance();
    default:
      return RandomSearchInstance();
  }
}

Finding Search::Diagnose(const TrialHistory& trial, const Target& target) const {
  if (trial.result != TrialResult::kHalted) return core::Diagnose(trial, target);
  return {.kind = FindingKind::kSearch,
          .text = absl::StrFormat("halted after %d epochs at %s", trial.epochs.size(),
                                  ValueText(target, std::abs(Score(trial, target))))};
}

Advice Search::Propose(const TuningTask& task, int room) const {
  Advice advice;
  std::string why_not = Fill(task, room, advice);
  if (task.last > 0) {
    advice.finding = Diagnose(task.trials.at(static_cast<size_t>(task.last - 1)), task.target);
  }
  if (!advice.next.empty() || !advice.promotions.empty()) return advice;
  advice.wait = std::any_of(task.trials.begin(), task.trials.end(), [](const auto& trial) {
    return trial.result == TrialResult::kRunning;
  });
  if (!advice.wait) advice.stop = std::move(why_not);
  return advice;
}

double Score(const TrialHistory& trial, const Target& target, int epochs) {
  double best = -std::numeric_limits<double>::infinity();
  const size_t rows = epochs > 0 ? static_cast<size_t>(epochs) : trial.epochs.size();
  for (size_t i = 0; i < std::min(rows, trial.epochs.size()); ++i) {
    const double value = Value(target, trial.epochs[i]);
    if (!std::isfinite(value)) continue;
    best = std::max(best, target.metric == TargetMetric::kValAccuracy ? value : -value);
  }
  return best;
}

Point Drafts::RandomPoint(int number, int redraw) const {
  Point point;
  for (size_t i = 0; i < space_.size(); ++i) {
    point.push_back(space_.FromUnit(i, Draws(task_.limits.seed, number, redraw, i).Unit()));
  }
  return point;
}

bool Drafts::Tried(const network::Configuration& configuration) const {
  return std::find(drawn_.begin(), drawn_.end(), configuration) != drawn_.end() ||
         std::any_of(task_.trials.begin(), task_.trials.end(), [&](const TrialHistory& trial) {
           return trial.configuration == configuration;
         });
}

std::optional<NextTrial> Drafts::Next(const std::function<Point(int)>& at) {
  for (int redraw = 0; redraw < kRedraws; ++redraw) {
    const Point point = at(redraw);
    network::Configuration configuration = space_.At(point);
    if (Tried(configuration) || !Allowed(task_.limits, configuration)) continue;
    NextTrial next{.base = 1, .inherit = false, .configuration = configuration};
    next.tweak = {.finding = {.kind = FindingKind::kSearch},
                  .reason = absl::StrCat("drawn from the space: ", space_.Text(point)),
                  .changes = Difference(first(), configuration),
                  .move = "search",
                  .base = 1};
    for (size_t i = 0; i < space_.size(); ++i) {
      if (space_.choices(i) == 0)
        next.tweak.finding.evidence[task_.limits.space[i].path] = point[i];
    }
    drawn_.push_back(std::move(configuration));
    return next;
  }
  dry_ = true;
  return std::nullopt;
}

std::optional<NextTrial> Drafts::NextRandom() {
  const int number = count() + 1;
  return Next([&](int redraw) { return RandomPoint(number, redraw); });
}

std::string Drafts::WhyNot() const {
  if (dry_) {
    return absl::StrFormat(
        "the space is used up: %d draws in a row had been tried before or make no valid network "
        "within the limits",
        kRedraws);
  }
  return absl::StrFormat("all %d trials that tune.max_trials allows were made", count());
}

}  // namespace trainyard::core
