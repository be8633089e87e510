#include "coordinator/core/tuner/curve.h"

#include <algorithm>
#include <cmath>

namespace trainyard::core {
namespace {

// Gains shrink by a ratio per epoch: the limit of a, b, c is c + (c - b) r / (1 - r). The ratio is
// measured where three values are there, and kept off 1, where noise would lead to the stars.
double Limit(const std::vector<double>& values) {
  constexpr double kUsualRatio = 0.5;
  constexpr double kLargestRatio = 0.75;
  const size_t n = values.size();
  if (n < 2) return n == 0 ? 0 : values.back();
  const double last = values[n - 1] - values[n - 2];
  if (last <= 0) return *std::max_element(values.begin(), values.end());
  double ratio = kUsualRatio;
  if (n >= 3) {
    const double before = values[n - 2] - values[n - 3];
    ratio = before > 0 ? std::clamp(last / before, 0.0, kLargestRatio) : kUsualRatio;
  }
  return values.back() + last * ratio / (1 - ratio);
}

}  // namespace

Curve ReadCurve(const TrialHistory& trial, const Target& target) {
  const bool accuracy = target.metric == TargetMetric::kValAccuracy;
  std::vector<double> train;
  std::vector<double> val;
  double lowest_loss = INFINITY;
  double last_loss = 0;
  for (const Metrics& metrics : trial.epochs) {
    const double t = accuracy ? metrics.train_accuracy : -metrics.train_loss;
    const double v = accuracy ? metrics.val_accuracy : -metrics.val_loss;
    if (!std::isfinite(v)) continue;  // programs may tell of their training set nothing
    train.push_back(t);
    val.push_back(v);
    last_loss = metrics.val_loss;
    if (std::isfinite(last_loss)) lowest_loss = std::min(lowest_loss, last_loss);
  }
  Curve curve;
  curve.bound = accuracy ? target.bound : -target.bound;
  curve.epochs = static_cast<int>(val.size());
  if (val.empty()) return curve;
  curve.train = train.back();
  curve.val = val.back();
  curve.best = *std::max_element(val.begin(), val.end());
  curve.distance = curve.bound - curve.best;
  curve.gap = curve.train - curve.val;
  curve.gain = val.size() > 1 ? val.back() - val[val.size() - 2] : 0;
  curve.limit = std::max(curve.best, Limit(val));
  curve.train_limit = std::max(curve.train, Limit(train));
  if (std::isfinite(last_loss) && lowest_loss > 0 && std::isfinite(lowest_loss)) {
    curve.loss_rise = last_loss / lowest_loss - 1;
  }
  return curve;
}

double ErrorRatio(const Curve& curve, const Target& target) {
  constexpr double kSmallest = 1e-3;
  const double error = target.metric == TargetMetric::kValAccuracy ? 1 - curve.best : -curve.best;
  const double allowed =
      target.metric == TargetMetric::kValAccuracy ? 1 - target.bound : target.bound;
  return std::max(1.0, error / std::max(allowed, kSmallest));
}

}  // namespace trainyard::core
