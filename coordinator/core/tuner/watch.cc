#include "coordinator/core/tuner/watch.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/core/tuner/changes.h"
#include "coordinator/core/tuner/curve.h"
#include "coordinator/core/tuner/diagnose.h"
#include "coordinator/core/tuner/expectation.h"
#include "coordinator/core/tuner/offers.h"
#include "coordinator/core/tuner/rates.h"

namespace trainyard::core {
namespace {

constexpr int kChangesMax = 2;
constexpr int kRewindsMax = 2;

// A hopeless trial is ended only after so many epochs and so much of its length.
constexpr int kJudgedEpochs = 3;
constexpr double kJudgedPart = 0.4;
// What is left of the error when the rate falls to nothing at the end: most of the gain of a cosine
// or one cycle comes then, and runs that halve their error that late are rare.
constexpr double kAnnealed = 0.5;
constexpr double kSlowestRatio = 0.9;  // of gains, in a forecast that means well

constexpr int kOverfitEpochs = 3;  // in a row with a rising validation loss
constexpr double kOverfitRise = 0.1;

constexpr int kPlateauEpochs = 3;
constexpr double kPlateauDrop = 0.2;
constexpr double kPlateauGain = 1e-3;  // of the error: less is none
constexpr double kBurst = 1.5;         // times the loss of the epoch before

Tweak TweakOf(const TrialHistory& trial, Finding finding, const char* move, std::string reason,
              std::string expectation) {
  return {.finding = std::move(finding),
          .reason = std::move(reason),
          .expectation = std::move(expectation),
          .move = move,
          .base = trial.number};
}

Correction Changed(const TrialHistory& trial, network::Configuration next, Tweak tweak) {
  tweak.changes = Difference(trial.current, next);
  return {.configuration = std::move(next), .tweak = std::move(tweak)};
}

Correction Stop(const TrialHistory& trial, Finding finding, std::string reason) {
  return {.stop = true,
          .configuration = trial.current,
          .tweak = TweakOf(trial, std::move(finding), kStopEarly, std::move(reason),
                           "the epochs that are left go to a trial that can do better")};
}

// How high these values may come by the end, meaning well: what the gains still add up to, or what
// annealing may bring, whichever is more.
double Hoped(const std::vector<double>& values, const Target& target, bool anneals) {
  const double best = std::ranges::max(values);
  double hoped = std::max(best, Limit(values, kSlowestRatio));
  if (anneals) {
    const double error = ErrorOf(best, target) * kAnnealed;
    hoped = std::max(hoped, target.metric == TargetMetric::kValAccuracy ? 1 - error : -error);
  }
  return hoped;
}

std::optional<Correction> StopHopeless(const TuningTask& task, const TrialHistory& trial,
                                       const Curve& curve) {
  const bool accuracy = task.target.metric == TargetMetric::kValAccuracy;
  if (curve.planned <= 0 || curve.epochs < kJudgedEpochs) return std::nullopt;
  if (curve.epochs < kJudgedPart * curve.planned) return std::nullopt;
  // What a program does with its rate is its own business, so it may anneal too.
  const bool anneals = trial.current.IsProgram() || Anneals(trial.current.training);
  std::vector<double> train;
  std::vector<double> val;
  for (const Metrics& metrics : trial.epochs) {
    const double t = accuracy ? metrics.train_accuracy : -metrics.train_loss;
    const double v = accuracy ? metrics.val_accuracy : -metrics.val_loss;
    if (std::isfinite(t) && t != 0) train.push_back(t);
    if (std::isfinite(v)) val.push_back(v);
  }
  const double hoped = Hoped(val, task.target, anneals);
  if (hoped >= curve.bound - 2 * curve.noise) return std::nullopt;
  // While the training set may still be fitted, validation may follow.
  if (!train.empty() && Hoped(train, task.target, anneals) >= curve.bound) return std::nullopt;
  return Stop(trial, Diagnose(trial, task.target),
              absl::StrFormat("after %d of %d epochs at %.4f, with the best of luck it reaches "
                              "%.4f, short of %.4f",
                              curve.epochs, curve.planned, Shown(curve.best, task.target),
                              Shown(hoped, task.target), Shown(curve.bound, task.target)));
}

std::optional<Correction> StopOverfit(const TuningTask& task, const TrialHistory& trial,
                                      const Curve& curve) {
  // Accuracy may go on rising while the loss does, and at the end of an annealed run mostly does.
  const bool anneals = !trial.current.IsProgram() && Anneals(trial.current.training);
  const int patience = anneals ? std::max(kOverfitEpochs, curve.planned / 4) : kOverfitEpochs;
  if (curve.loss_rises < kOverfitEpochs || curve.loss_rise < kOverfitRise) return std::nullopt;
  if (curve.since_best < patience || !(curve.gap > 0)) return std::nullopt;
  return Stop(
      trial, Diagnose(trial, task.target),
      absl::StrFormat("the validation loss has risen for %d epochs, by %.0f%%, and the best "
                      "epoch lies %d back: it learns its training set by heart",
                      curve.loss_rises, 100 * curve.loss_rise, curve.since_best));
}

// Training losses, last one first.
std::vector<double> LossesBackwards(const TrialHistory& trial) {
  std::vector<double> losses;
  for (auto row = trial.epochs.rbegin(); row != trial.epochs.rend(); ++row) {
    if (std::isfinite(row->train_loss) && row->train_loss > 0) losses.push_back(row->train_loss);
  }
  return losses;
}

std::optional<Correction> CalmDown(const TuningTask& task, const TrialHistory& trial) {
  const std::vector<double> losses = LossesBackwards(trial);
  if (losses.size() < 2 || losses[0] < kBurst * losses[1]) return std::nullopt;
  network::Configuration next = trial.current;
  network::Optimizer& optimizer = next.training.optimizer;
  optimizer.learning_rate *= 0.3;
  if (optimizer.learning_rate < kRateMin) return std::nullopt;
  ClipAtOne(optimizer);
  const std::string reason = absl::StrFormat(
      "the training loss jumped from %.3f to %.3f: learning rate %g instead of %g, and gradients "
      "clipped at norm 1",
      losses[1], losses[0], optimizer.learning_rate, RateOf(trial));
  return Changed(trial, std::move(next),
                 TweakOf(trial, Diagnose(trial, task.target), kLowerRate, reason,
                         "the loss falls again in the next epoch"));
}

// No gain in the last epochs, at a rate that was the same in all of them.
bool OnPlateau(const TuningTask& task, const TrialHistory& trial, const Curve& curve) {
  const bool accuracy = task.target.metric == TargetMetric::kValAccuracy;
  if (static_cast<int>(trial.epochs.size()) <= kPlateauEpochs) return false;
  const size_t first = trial.epochs.size() - kPlateauEpochs;
  double before = -INFINITY;
  for (size_t i = 0; i < first; ++i) {
    const double value = accuracy ? trial.epochs[i].val_accuracy : -trial.epochs[i].val_loss;
    if (std::isfinite(value)) before = std::max(before, value);
  }
  if (curve.best > before + kPlateauGain * ErrorOf(before, task.target)) return false;
  return std::all_of(trial.epochs.begin() + static_cast<int64_t>(first), trial.epochs.end(),
                     [rate = trial.epochs.back().learning_rate](const Metrics& metrics) {
                       return metrics.learning_rate == rate;
                     });
}

std::optional<Correction> DropRate(const TuningTask& task, const TrialHistory& trial,
                                   const Curve& curve) {
  const network::Training& training = trial.current.training;
  const int left = training.epochs - static_cast<int>(trial.epochs.size());
  if (RateFalls(training.schedule) || left < 2 || !OnPlateau(task, trial, curve))
    return std::nullopt;
  network::Configuration next = trial.current;
  double& rate = next.training.optimizer.learning_rate;
  rate *= kPlateauDrop;
  if (rate < kRateMin) return std::nullopt;
  Finding finding = Diagnose(trial, task.target);
  const std::string reason = absl::StrFormat(
      "%d epochs without a gain at %.4f: learning rate %g instead of %g for the %d "
      "that are left",
      kPlateauEpochs, Shown(curve.best, task.target), rate, RateOf(trial), left);
  return Changed(trial, std::move(next),
                 TweakOf(trial, std::move(finding), kLowerRate, reason,
                         "validation gains in the next two epochs"));
}

}  // namespace

std::optional<Correction> WatchTrial(const TuningTask& task, const TrialHistory& trial,
                                     const std::function<bool()>& more) {
  if (!task.limits.in_flight || trial.epochs.empty()) return std::nullopt;
  const Curve curve = ReadCurve(trial, task.target);
  if (curve.epochs == 0 || curve.distance <= 0) return std::nullopt;
  std::optional<Correction> stop = StopHopeless(task, trial, curve);
  if (!stop) stop = StopOverfit(task, trial, curve);
  if (stop && more()) return stop;
  if (trial.current.IsProgram() || trial.adjustments >= kChangesMax) return std::nullopt;
  if (auto calm = CalmDown(task, trial)) return calm;
  return DropRate(task, trial, curve);
}

std::optional<Correction> RescueTrial(const TuningTask& task, const TrialHistory& trial) {
  if (!task.limits.in_flight || trial.current.IsProgram()) return std::nullopt;
  if (trial.rewinds >= kRewindsMax) return std::nullopt;
  network::Configuration next = trial.current;
  network::Optimizer& optimizer = next.training.optimizer;
  const double before = optimizer.learning_rate;
  optimizer.learning_rate /= 3;
  if (optimizer.learning_rate < kRateMin) return std::nullopt;
  ClipAtOne(optimizer);
  TrialHistory diverged = trial;  // what it would end as
  diverged.result = TrialResult::kDiverged;
  Finding finding = Diagnose(diverged, task.target);
  const std::string reason = absl::StrFormat(
      "back to the best checkpoint: learning rate %g instead of %g, and gradients clipped at norm "
      "1",
      optimizer.learning_rate, before);
  return Changed(trial, std::move(next),
                 TweakOf(trial, std::move(finding), kLowerRate, reason,
                         "the loss stays finite and falls on from there"));
}

}  // namespace trainyard::core
