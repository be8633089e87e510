#include "coordinator/core/tuner/expectation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

namespace trainyard::core {
namespace {

constexpr double kFactorMin = 0.05;
constexpr double kFactorMax = 4;

struct Prior {
  const char* move;
  double underfit, overfit, improving, plateau, too_high, too_low, label_noise, imbalance;
};

// "grow" and "widen": of WidthShare; all others: of the error. "train longer", where the curve
// still rises, is read off the curve (moves.cc).
constexpr std::array kPriors = {
    //                under  over  impr. plat. high  low   label imbal.
    Prior{kGrow, 1.00, 0.10, 0.55, 0.80, 0.10, 0.10, 0.05, 0.40},
    Prior{kWiden, 0.85, 0.15, 0.45, 0.65, 0.10, 0.10, 0.05, 0.40},
    Prior{kBatchNorm, 0.10, 0.03, 0.06, 0.07, 0.15, 0.10, 0.01, 0.04},
    Prior{kDeepen, 0.08, 0.01, 0.03, 0.06, 0.01, 0.01, 0.01, 0.04},
    Prior{kResidual, 0.07, 0.01, 0.03, 0.05, 0.01, 0.01, 0.01, 0.03},
    Prior{kLargerKernels, 0.05, 0.01, 0.02, 0.03, 0.01, 0.01, 0.01, 0.02},
    Prior{kAddUnits, 0.05, 0.01, 0.02, 0.03, 0.01, 0.01, 0.01, 0.02},
    Prior{kRelax, 0.07, 0.00, 0.03, 0.02, 0.00, 0.00, 0.00, 0.00},
    Prior{kTrainLonger, 0.03, 0.01, 0.05, 0.03, 0.03, 0.15, 0.01, 0.04},
    Prior{kRaiseRate, 0.02, 0.01, 0.03, 0.01, 0.00, 0.30, 0.00, 0.01},
    Prior{kLowerRate, 0.02, 0.02, 0.01, 0.03, 0.40, 0.00, 0.03, 0.01},
    Prior{kAnneal, 0.03, 0.03, 0.05, 0.10, 0.15, 0.00, 0.06, 0.03},
    Prior{kAugment, 0.01, 0.15, 0.01, 0.05, 0.00, 0.00, 0.05, 0.06},
    Prior{kRegularise, 0.00, 0.10, 0.00, 0.02, 0.00, 0.00, 0.06, 0.02},
    Prior{kSmoothLabels, 0.01, 0.05, 0.01, 0.03, 0.00, 0.00, 0.12, 0.05},
    Prior{kSmallerBatch, 0.01, 0.01, 0.01, 0.02, 0.00, 0.05, 0.00, 0.03},
};

double Of(const Prior& prior, FindingKind finding) {
  switch (finding) {
    case FindingKind::kUnderfit:
      return prior.underfit;
    case FindingKind::kOverfit:
      return prior.overfit;
    case FindingKind::kStillImproving:
      return prior.improving;
    case FindingKind::kRateTooHigh:
    case FindingKind::kDiverged:
      return prior.too_high;
    case FindingKind::kRateTooLow:
      return prior.too_low;
    case FindingKind::kLabelNoise:
      return prior.label_noise;
    case FindingKind::kImbalance:
      return prior.imbalance;
    default:
      return prior.plateau;
  }
}

std::optional<double> BestOf(const TuningTask& task, int number) {
  for (const TrialHistory& trial : task.trials) {
    if (trial.number != number) continue;
    const Curve curve = ReadCurve(trial, task.target);
    if (curve.epochs > 0) return curve.best;
  }
  return std::nullopt;
}

}  // namespace

double PriorShare(FindingKind finding, const std::string& move) {
  for (const Prior& prior : kPriors) {
    if (move == prior.move) return Of(prior, finding);
  }
  return 0;
}

double WidthShare(double factor) { return 1 - std::pow(std::max(factor, 1.0), -0.25); }

Experience::Experience(const TuningTask& task) {
  for (const TrialHistory& trial : task.trials) {
    if (trial.base == 0 || trial.result == TrialResult::kRunning) continue;
    if (!(trial.expected_gain > 0) || !std::isfinite(trial.expected_gain)) continue;
    const std::optional<double> before = BestOf(task, trial.base);
    if (!before) continue;
    const std::optional<double> after = BestOf(task, trial.number);
    if (trial.result == TrialResult::kFailed) continue;  // says nothing about the move
    Learn(trial, trial.broke() || !after ? -trial.expected_gain : *after - *before);
  }
}

void Experience::Learn(const TrialHistory& trial, double gained) {
  // What was expected had the factor of its time in it already, so the ratio corrects that one.
  const double ratio = std::clamp(gained / trial.expected_gain, -0.5, 2.0);
  double& factor = factors_.try_emplace(trial.move, 1).first->second;
  factor = std::clamp(factor * (1 + ratio) / 2, kFactorMin, kFactorMax);
}

double Experience::Factor(const std::string& move) const {
  const auto found = factors_.find(move);
  return found == factors_.end() ? 1 : found->second;
}

}  // namespace trainyard::core
