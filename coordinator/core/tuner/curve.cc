#include "coordinator/core/tuner/curve.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "coordinator/core/ranking.h"
#include "coordinator/core/tuner/rates.h"

namespace trainyard::core {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kJump = 1.1;       // times the loss of the epoch before
constexpr double kRatioMax = 0.75;  // of an epoch's gain over the gain before
// Where the rate has come to its end: the last gains were of its fall and do not go on for long.
constexpr double kRatioAnnealed = 0.5;

// A program that does not tell of its training set reports zeros or NaN.
bool TellsTraining(const Metrics& metrics) {
  return metrics.train_loss != 0 || metrics.train_accuracy != 0;
}

double Finite(double value) { return std::isfinite(value) ? value : kNan; }

// Losses: of the training set where they are told, else of the validation set.
void ReadLosses(const TrialHistory& trial, Curve& curve) {
  std::vector<double> training;
  std::vector<double> validation;
  for (const Metrics& metrics : trial.epochs) {
    if (TellsTraining(metrics) && metrics.train_loss > 0 && std::isfinite(metrics.train_loss)) {
      training.push_back(metrics.train_loss);
    }
    if (metrics.val_loss > 0 && std::isfinite(metrics.val_loss)) {
      validation.push_back(metrics.val_loss);
    }
  }
  const std::vector<double>& losses = training.empty() ? validation : training;
  curve.first_loss = losses.empty() ? kNan : losses.front();
  curve.last_loss = losses.empty() ? kNan : losses.back();
  curve.loss_falls = losses.size() > 1;
  for (size_t i = 1; i < losses.size(); ++i) {
    if (losses[i] >= losses[i - 1] * kJump) ++curve.loss_jumps;
    if (losses[i] >= losses[i - 1]) curve.loss_falls = false;
  }
  if (validation.empty()) return;
  curve.loss_rise = validation.back() / *std::ranges::min_element(validation) - 1;
  for (size_t i = validation.size() - 1; i > 0 && validation[i] > validation[i - 1]; --i) {
    ++curve.loss_rises;
  }
}

// What only the trainer itself knows; programs tell zeros.
void ReadNorms(const TrialHistory& trial, Curve& curve) {
  for (const Metrics& metrics : trial.epochs) {
    // The rate may end near 0 and with it the updates: the largest says how fast the trial went.
    if (std::isfinite(metrics.update_ratio)) {
      curve.update_ratio = std::max(curve.update_ratio, metrics.update_ratio);
    }
    if (std::isfinite(metrics.gradient_norm)) curve.gradient_norm = metrics.gradient_norm;
    if (std::isfinite(metrics.dead_units)) curve.dead_units = metrics.dead_units;
  }
}

double ClassesOf(const TrialHistory& trial) {
  if (!trial.configuration.IsProgram()) return trial.configuration.network.classes;
  return std::sqrt(static_cast<double>(trial.confusion.size()));
}

}  // namespace

bool NeverLearned(const Curve& curve) {
  constexpr double kOfAGuess = 0.93;
  return curve.last_loss >= kOfAGuess * curve.chance_loss;  // not if one is NaN: not told
}

double Limit(const std::vector<double>& values, double ratio_max) {
  constexpr double kUsualRatio = 0.5;
  const size_t n = values.size();
  if (n < 2) return n == 0 ? 0 : values.back();
  const double last = values[n - 1] - values[n - 2];
  if (last <= 0) return *std::max_element(values.begin(), values.end());
  double ratio = kUsualRatio;
  if (n >= 3) {
    const double before = values[n - 2] - values[n - 3];
    ratio = before > 0 ? std::clamp(last / before, 0.0, ratio_max) : kUsualRatio;
  }
  return values.back() + last * ratio / (1 - ratio);
}

Curve ReadCurve(const TrialHistory& trial, const Target& target) {
  const bool accuracy = target.metric == TargetMetric::kValAccuracy;
  std::vector<double> train;
  std::vector<double> val;
  for (const Metrics& metrics : trial.epochs) {
    const double t = accuracy ? metrics.train_accuracy : -metrics.train_loss;
    const double v = accuracy ? metrics.val_accuracy : -metrics.val_loss;
    if (!std::isfinite(v)) continue;
    train.push_back(TellsTraining(metrics) ? Finite(t) : kNan);
    val.push_back(v);
  }
  Curve curve{.planned = trial.current.epochs()};
  curve.bound = accuracy ? Needed(target) : -target.bound;
  curve.epochs = static_cast<int>(val.size());
  ReadLosses(trial, curve);
  ReadNorms(trial, curve);
  const double classes = ClassesOf(trial);
  curve.chance_loss = classes >= 2 ? std::log(classes) : kNan;
  if (val.empty()) return curve;
  curve.train = train.back();
  curve.val = val.back();
  const auto best = std::max_element(val.begin(), val.end());
  curve.best = *best;
  curve.since_best = static_cast<int>(val.end() - best) - 1;
  curve.distance = curve.bound - curve.best;
  curve.gap = curve.train - curve.val;
  curve.gain = val.size() > 1 ? val.back() - val[val.size() - 2] : 0;
  curve.annealed = curve.planned > 0 && curve.epochs >= curve.planned &&
                   !trial.current.IsProgram() && Anneals(trial.current.training);
  curve.limit = std::max(curve.best, Limit(val, curve.annealed ? kRatioAnnealed : kRatioMax));
  curve.train_limit = curve.train;
  if (!curve.annealed && std::isfinite(curve.train)) {
    curve.train_limit = std::fmax(curve.train, Limit(train, kRatioMax));
  }
  curve.images = target.images;
  if (curve.images <= 0) {
    for (const int64_t count : trial.confusion) curve.images += std::max<int64_t>(0, count);
  }
  if (accuracy && curve.images > 0) {
    const double p = std::clamp(curve.best, 0.0, 1.0);
    curve.noise = std::sqrt(p * (1 - p) / static_cast<double>(curve.images));
  }
  return curve;
}

double ErrorOf(double value, const Target& target) {
  return std::max(0.0, target.metric == TargetMetric::kValAccuracy ? 1 - value : -value);
}

double ErrorRatio(const Curve& curve, const Target& target) {
  constexpr double kSmallest = 1e-3;
  const double allowed = ErrorOf(curve.bound, target);
  return std::max(1.0, ErrorOf(curve.best, target) / std::max(allowed, kSmallest));
}

std::string EpochsText(int epochs) {
  return absl::StrCat(epochs, epochs == 1 ? " epoch" : " epochs");
}

double Shown(double value, const Target& target) {
  return target.metric == TargetMetric::kValAccuracy ? value : -value;
}

}  // namespace trainyard::core
