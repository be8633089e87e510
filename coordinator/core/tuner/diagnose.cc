// The rules, in order; the first that holds names the finding:
//
//   out of memory    the trial said so
//   diverged         the trial said so
//   overfit          the training set is fitted as well as the target asks, and the gap to the
//                    validation set makes up half of the distance; or the validation loss has risen
//                    by a twentieth above its lowest while the gap is there
//   still improving  the curve, continued, reaches the target
//   underfit         not even the training set, continued, gets there
//   plateau          everything else
#include "coordinator/core/tuner/diagnose.h"

#include <cmath>
#include <map>

#include "absl/strings/str_format.h"
#include "coordinator/core/tuner/curve.h"
#include "coordinator/core/tuner/program_moves.h"

namespace trainyard::core {
namespace {

constexpr double kLossRise = 0.05;

double Shown(double value, const Target& target) {
  return target.metric == TargetMetric::kValAccuracy ? value : -value;
}

Finding Untrained(const TrialHistory& trial, int epochs) {
  Finding finding;
  const double rate = RateOf(trial);
  finding.evidence = {{"learning_rate", rate}, {"epochs", static_cast<double>(epochs)}};
  switch (trial.result) {
    case TrialResult::kOutOfMemory:
      finding.kind = FindingKind::kOutOfMemory;
      finding.text = trial.configuration.IsProgram()
                         ? std::string("the program ran out of memory")
                         : absl::StrFormat("the worker ran out of memory with batches of %d images",
                                           trial.configuration.training.batch_size);
      return finding;
    case TrialResult::kDiverged:
      finding.kind = FindingKind::kDiverged;
      finding.text = absl::StrFormat(
          "the loss was no longer a number after %d good epochs at learning rate %g", epochs, rate);
      return finding;
    default:
      finding.kind = FindingKind::kNone;
      finding.text = trial.result == TrialResult::kCompleted
                         ? "the trial never said how good its validation is"
                         : "the trial failed before it could be judged";
      return finding;
  }
}

FindingKind Kind(const Curve& curve) {
  const bool fits_training = curve.train >= curve.bound;
  if (fits_training && curve.gap >= 0.5 * curve.distance) return FindingKind::kOverfit;
  if (curve.loss_rise >= kLossRise && curve.gap >= 0.5 * curve.distance) {
    return FindingKind::kOverfit;
  }
  if (curve.limit >= curve.bound) return FindingKind::kStillImproving;
  if (curve.train_limit < curve.bound) return FindingKind::kUnderfit;
  return FindingKind::kPlateau;
}

std::string Text(FindingKind kind, const Curve& curve, const Target& target) {
  const double train = Shown(curve.train, target);
  const double val = Shown(curve.val, target);
  const double limit = Shown(curve.limit, target);
  switch (kind) {
    case FindingKind::kOverfit:
      return absl::StrFormat(
          "the training set is at %.4f, the validation set only at %.4f: the gap of %.4f outweighs "
          "the %.4f that are missing",
          train, val, std::abs(curve.gap), curve.distance);
    case FindingKind::kStillImproving:
      return absl::StrFormat(
          "the last epoch still gained %.4f; continued, the curve reaches %.4f against a target of "
          "%.4f",
          curve.gain, limit, target.bound);
    case FindingKind::kUnderfit:
      return absl::StrFormat(
          "training %.4f and validation %.4f are close together and head for %.4f and %.4f, below "
          "%.4f: the network is too small or held back",
          train, val, Shown(curve.train_limit, target), limit, target.bound);
    default:
      return absl::StrFormat("flat at %.4f after %d epochs, %.4f short of %.4f",
                             Shown(curve.best, target), curve.epochs, curve.distance, target.bound);
  }
}

}  // namespace

Finding Diagnose(const TrialHistory& trial, const Target& target) {
  const Curve curve = ReadCurve(trial, target);
  if (trial.result != TrialResult::kCompleted || curve.epochs == 0)
    return Untrained(trial, curve.epochs);
  Finding finding;
  finding.kind = Kind(curve);
  finding.text = Text(finding.kind, curve, target);
  finding.evidence = {{"epochs", curve.epochs},
                      {"train", Shown(curve.train, target)},
                      {"validation", Shown(curve.val, target)},
                      {"best", Shown(curve.best, target)},
                      {"distance", curve.distance},
                      {"gap", curve.gap},
                      {"gain_last_epoch", curve.gain},
                      {"heading_for", Shown(curve.limit, target)},
                      {"validation_loss_rise", curve.loss_rise}};
  std::erase_if(finding.evidence, [](const auto& item) { return !std::isfinite(item.second); });
  return finding;
}

}  // namespace trainyard::core
