#include "coordinator/core/tuner/tpe.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/core/ranking.h"
#include "coordinator/core/tuner/draw.h"
#include "coordinator/core/tuner/search.h"

namespace trainyard::core {
namespace {

constexpr double kGoodShare = 0.2;
constexpr int kGoodMax = 25;
constexpr int kCandidates = 24;
constexpr int kStartupMax = 10;  // random trials at first

double NormalBelow(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

// Of a Gaussian that is cut off outside of 0 to 1.
double CutNormal(double x, double mean, double deviation) {
  const double z = (x - mean) / deviation;
  const double inside = NormalBelow((1 - mean) / deviation) - NormalBelow(-mean / deviation);
  return std::exp(-0.5 * z * z) / (std::sqrt(2 * std::numbers::pi) * deviation * inside);
}

}  // namespace

double Tpe::Density::At(double unit) const {
  if (!weights.empty()) {
    const auto choice = static_cast<size_t>(unit * static_cast<double>(weights.size()));
    return weights[std::min(choice, weights.size() - 1)];
  }
  double sum = 0;
  for (size_t i = 0; i < means.size(); ++i) sum += CutNormal(unit, means[i], deviations[i]);
  return sum / static_cast<double>(means.size());
}

Tpe::Density Tpe::DensityOf(size_t dimension,
                            const std::vector<const Observation*>& observations) const {
  Density density;
  std::vector<double> units;
  for (const Observation* observation : observations) {
    const std::optional<double>& value = observation->point[dimension];
    if (value) units.push_back(space_.ToUnit(dimension, *value));
  }
  if (const int choices = space_.choices(dimension); choices > 0) {
    const double all = static_cast<double>(units.size()) + choices;
    density.weights.assign(static_cast<size_t>(choices), 1 / all);
    for (const double unit : units) {
      density.weights[static_cast<size_t>(unit * choices)] += 1 / all;
    }
    return density;
  }
  constexpr double kPriorMean = 0.5;
  constexpr double kPriorDeviation = 1;
  units.push_back(kPriorMean);
  std::sort(units.begin(), units.end());
  const double narrowest = 1 / std::min(100.0, 1 + static_cast<double>(units.size()));
  bool prior = false;
  for (size_t i = 0; i < units.size(); ++i) {
    // As wide as the way to the further neighbour, or to the end of the range.
    const double left = units[i] - (i == 0 ? 0 : units[i - 1]);
    const double right = (i + 1 == units.size() ? 1 : units[i + 1]) - units[i];
    const bool is_prior = !prior && units[i] == kPriorMean;
    prior = prior || is_prior;
    density.means.push_back(units[i]);
    density.deviations.push_back(is_prior ? kPriorDeviation
                                          : std::clamp(std::max(left, right), narrowest, 1.0));
  }
  return density;
}

Tpe::Tpe(const Space& space, const std::vector<Observation>& observations) : space_(space) {
  std::vector<const Observation*> sorted;
  for (const Observation& observation : observations) sorted.push_back(&observation);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto* a, const auto* b) { return a->score > b->score; });
  const auto share = static_cast<int>(std::ceil(kGoodShare * static_cast<double>(sorted.size())));
  good_ = std::min(kGoodMax, share);
  while (good_ > 0 && std::isinf(sorted[static_cast<size_t>(good_ - 1)]->score)) --good_;
  if (good_ > 0) threshold_ = sorted[static_cast<size_t>(good_ - 1)]->score;
  const std::vector<const Observation*> good(sorted.begin(), sorted.begin() + good_);
  const std::vector<const Observation*> rest(sorted.begin() + good_, sorted.end());
  for (size_t i = 0; i < space_.size(); ++i) {
    of_good_.push_back(DensityOf(i, good));
    of_rest_.push_back(DensityOf(i, rest));
  }
}

double Tpe::Candidate(size_t dimension, const Density& density, Draws& draws) const {
  double unit = draws.Unit();
  if (!density.weights.empty()) {
    size_t choice = 0;
    while (choice + 1 < density.weights.size() && unit >= density.weights[choice]) {
      unit -= density.weights[choice++];
    }
    return static_cast<double>(choice);
  }
  const auto count = static_cast<double>(density.means.size());
  const auto which = std::min(static_cast<size_t>(unit * count), density.means.size() - 1);
  constexpr int kTries = 100;  // at least a third of each Gaussian lies within
  for (int i = 0; i < kTries; ++i) {
    unit = density.means[which] + density.deviations[which] * draws.Normal();
    if (unit >= 0 && unit <= 1) break;
  }
  return space_.FromUnit(dimension, std::clamp(unit, 0.0, 1.0));
}

Point Tpe::Draw(uint64_t seed, int trial, int redraw) const {
  Point point;
  for (size_t i = 0; i < space_.size(); ++i) {
    Draws draws(seed, trial, redraw, i);
    double best = 0;
    double best_ratio = -1;
    for (int n = 0; n < kCandidates; ++n) {
      const double value = Candidate(i, of_good_[i], draws);
      const double unit = space_.ToUnit(i, value);
      const double ratio = of_good_[i].At(unit) / of_rest_[i].At(unit);
      if (ratio > best_ratio) {
        best = value;
        best_ratio = ratio;
      }
    }
    point.push_back(best);
  }
  return point;
}

namespace {

// So many trials are drawn at random before the first estimate: of a short job a third.
int Startup(const TuningLimits& limits) {
  return limits.max_trials == 0 ? kStartupMax : std::clamp(limits.max_trials / 3, 3, kStartupMax);
}

class TpePolicy : public Search {
  std::string Fill(const TuningTask& task, int room, Advice& advice) const override {
    Drafts drafts(task);
    while (static_cast<int>(advice.next.size()) < room && drafts.MayStart()) {
      const int usable = drafts.count() + 1 - std::max(1, task.limits.parallel);
      if (!Over(task, usable)) break;
      std::optional<NextTrial> next =
          usable < Startup(task.limits) ? RandomTrial(drafts) : Estimated(task, usable, drafts);
      if (!next) break;
      advice.next.push_back(*std::move(next));
    }
    return drafts.WhyNot();
  }

  // Whether the first `usable` trials all are.
  static bool Over(const TuningTask& task, int usable) {
    if (usable > static_cast<int>(task.trials.size())) return false;
    return std::none_of(
        task.trials.begin(), task.trials.begin() + std::max(0, usable),
        [](const TrialHistory& trial) { return trial.result == TrialResult::kRunning; });
  }

  static std::optional<NextTrial> RandomTrial(Drafts& drafts) {
    const int number = drafts.count() + 1;
    std::optional<NextTrial> next = drafts.NextRandom();
    if (!next) return std::nullopt;
    next->tweak.finding.text =
        absl::StrFormat("TPE: trial %d is drawn at random, as the first ones are", number);
    next->tweak.expectation = "a first impression of the space";
    return next;
  }

  static std::optional<NextTrial> Estimated(const TuningTask& task, int usable, Drafts& drafts) {
    std::vector<Observation> observations;
    for (int i = 0; i < usable; ++i) {
      const TrialHistory& trial = task.trials[static_cast<size_t>(i)];
      const bool failed =
          trial.result != TrialResult::kCompleted && trial.result != TrialResult::kHalted;
      Observation& observation = observations.emplace_back();
      observation.score = failed ? -INFINITY : Score(trial, task.target);
      for (size_t d = 0; d < drafts.space().size(); ++d) {
        observation.point.push_back(drafts.space().Read(d, trial.configuration));
      }
    }
    const Tpe tpe(drafts.space(), observations);
    const int number = drafts.count() + 1;
    std::optional<NextTrial> next = drafts.Next([&](int redraw) {
      // Where the best guesses were all tried, anything new will do.
      return redraw < Drafts::kRedraws / 2 ? tpe.Draw(task.limits.seed, number, redraw)
                                           : drafts.RandomPoint(number, redraw);
    });
    if (!next) return std::nullopt;
    Finding& finding = next->tweak.finding;
    finding.text =
        absl::StrFormat("TPE: expected improvement from %d good of %d trials", tpe.good(), usable);
    finding.evidence["good"] = tpe.good();
    finding.evidence["trials"] = usable;
    next->tweak.expectation =
        tpe.good() == 0
            ? "anything better than the trials that failed"
            : absl::StrCat("like the good ones, at ",
                           ValueText(task.target, std::abs(tpe.threshold())), " or better");
    return next;
  }
};

}  // namespace

const Policy& TpeInstance() {
  static const TpePolicy policy;
  return policy;
}

}  // namespace trainyard::core
