#include "coordinator/core/tuner/offers.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"
#include "coordinator/core/tuner/diagnose.h"
#include "coordinator/core/tuner/inheritance.h"

namespace trainyard::core {

Offers::Offers(const TrialHistory& base, const Finding& finding, const TuningTask& task)
    : base_(base),
      task_(task),
      kind_(finding.kind == FindingKind::kWithinNoise ? Cause(base, task.target).kind
                                                      : finding.kind),
      inherits_(WorthInheriting(base, task)),
      curve_(ReadCurve(base, task.target)),
      experience_(task) {}

double Offers::GainOf(const std::string& name, double scale) const {
  constexpr double kOfErrorMax = 0.5;  // no single move takes away more
  constexpr double kAnnealedShare = 0.3;
  if (curve_.epochs == 0) return base_.expected_gain;
  const double error = ErrorOf(curve_.best, task_.target);
  double gain = PriorShare(kind_, name) * scale * error;
  if (name == kTrainLonger && kind_ == FindingKind::kStillImproving) {
    // The last epochs of an annealed run owe much to the falling rate, which falls but once.
    const double share = curve_.annealed ? kAnnealedShare : 1;
    gain = std::max(gain, share * (curve_.limit - curve_.best));
  }
  return std::min(gain * experience_.Factor(name), kOfErrorMax * error);
}

void Offers::Add(const std::string& name, network::Configuration next, std::string reason,
                 const std::string& sign, MoveOptions options) {
  if (PriorShare(kind_, name) <= 0) return;
  if (options.mostly_new) next.training.epochs = std::max(next.training.epochs, kGrownEpochsMin);
  if (inherits_) {
    network::Training continued =
        Continued(base_, next.training, options.keep_rate || options.mostly_new);
    if (options.mostly_new) continued.epochs = std::max(continued.epochs, kGrownEpochsMin);
    if (!(continued == from().training)) {
      absl::StrAppendFormat(&reason, "; from trial %d's weights, %s at a peak rate of %g",
                            base_.number, EpochsText(continued.epochs),
                            continued.optimizer.learning_rate);
    }
    next.training = continued;
  }
  if (next == from()) return;
  Move move{.configuration = std::move(next),
            .name = name,
            .reason = std::move(reason),
            .expectation = sign,
            .gain = GainOf(name, options.scale),
            .inherit = inherits_};
  if (curve_.epochs > 0) {
    absl::StrAppendFormat(
        &move.expectation, "; %s by about %.4f to %.4f",
        task_.target.metric == TargetMetric::kValAccuracy ? "val_accuracy" : "val_loss", move.gain,
        shown(curve_.best + move.gain));
  }
  moves_.push_back(std::move(move));
}

std::vector<Move> Offers::Take() {
  std::ranges::stable_sort(moves_, std::greater{}, &Move::gain);
  return std::move(moves_);
}

}  // namespace trainyard::core
