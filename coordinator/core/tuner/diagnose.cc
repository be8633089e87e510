// The rules, in order; the first that holds names the finding (docs/tuning.md has the table):
//
//   out of memory, diverged   the trial said so
//   within noise              misses the target by less than the validation set can tell apart
//   rate too high             never learned to beat a guess, or the loss jumps, or huge updates
//   rate too low              the loss falls in every epoch and hardly at all, or tiny updates
//   label noise               any class is taken for any other alike, or the training labels are
//                             fitted worse than those of the validation set
//   class imbalance           few classes that are seldom seen take most of the errors
//   overfit                   the training set is fitted as well as the target asks, and the gap to
//                             the validation set makes up half of the distance, and more than two
//                             standard errors; or the validation loss has risen by a twentieth
//                             above its lowest while the gap is there
//   still improving           the curve, continued, reaches the target
//   underfit                  not even the training set, continued, gets there
//   plateau                   everything else
#include "coordinator/core/tuner/diagnose.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "coordinator/core/tuner/confusion.h"
#include "coordinator/core/tuner/curve.h"
#include "coordinator/core/tuner/rates.h"
#include "network/shapes.h"

namespace trainyard::core {
namespace {

// Thresholds. Update ratios are those of SGD and AdamW on small CNNs, at the end of an epoch.
constexpr double kHugeUpdate = 0.05;  // of the weights' norm in one step
constexpr double kTinyUpdate = 3e-4;
constexpr double kDead = 0.5;            // of the units
constexpr double kAboveChance = 1.02;    // times a guess's loss: worse than knowing nothing
constexpr double kFell = 0.998;          // last over first loss: less is none
constexpr double kHardlyFell = 0.85;     // last over first loss
constexpr double kStillHigh = 0.5;       // of a guess's loss
constexpr double kFarBelowUsual = 0.13;  // of UsualRate
constexpr double kEvenErrors = 0.92;     // Confusion::error_spread; of look-alikes about 0.7
constexpr double kEvenPredictions = 0.6;
constexpr int64_t kErrorsPerPair = 1;  // fewer errors than pairs of classes say nothing
constexpr double kWorseLabels = 0.05;  // validation above training accuracy
constexpr double kMostErrors = 0.5;
constexpr double kLossRise = 0.05;
constexpr int64_t kParametersToTell = 2'000;

// All that the rules look at.
struct Signs {
  const TrialHistory& trial;
  const Target& target;
  Curve curve;
  Confusion confusion;

  double Shown(double value) const { return core::Shown(value, target); }
  bool accuracy() const { return target.metric == TargetMetric::kValAccuracy; }
  bool NeverLearned() const { return curve.epochs >= 2 && core::NeverLearned(curve); }
  // At a rate that is not known to be more than usual, and not for small steps.
  bool AtUsualRate() const {
    const double usual = UsualRate(trial.current);
    return usual > 0 && RateOf(trial) <= 1.5 * usual;
  }
  bool Slow() const {
    if (curve.update_ratio > 0) return curve.update_ratio < kTinyUpdate;
    return curve.loss_falls && curve.last_loss < kFell * curve.first_loss &&
           curve.first_loss < kAboveChance * curve.chance_loss;
  }
  // So few values learn next to nothing, whatever the labels and the rate.
  bool TooSmallToTell() const {
    return !trial.current.IsProgram() &&
           network::ParameterCount(trial.current.network) < kParametersToTell;
  }
  // What never learned although it predicts all kinds of classes, or the rate is a usual one.
  bool LabelsLookRandom() const {
    return NeverLearned() && !Slow() && !TooSmallToTell() &&
           (AtUsualRate() ||
            (confusion.prediction_spread >= kEvenPredictions && curve.dead_units < kDead));
  }
  // Whether the network is free to fit what it is shown as it is.
  bool Unhindered() const;
};

bool Signs::Unhindered() const {
  if (trial.configuration.IsProgram()) return false;  // not known
  const network::Training& training = trial.current.training;
  const network::Augmentation& augmentation = training.augmentation;
  const bool augmented = augmentation.flip || augmentation.shift > 0 || augmentation.cutout > 0;
  const bool drops = std::ranges::any_of(trial.current.network.layers, [](const auto& layer) {
    return std::holds_alternative<network::Dropout>(layer.op);
  });
  return !augmented && !drops && training.label_smoothing == 0;
}

// ---- The rules: a sentence if they hold, else nothing ----

std::string RateTooHigh(const Signs& s) {
  const double rate = RateOf(s.trial);
  const Curve& curve = s.curve;
  const bool small = s.TooSmallToTell() && s.AtUsualRate();
  if (s.NeverLearned() && !s.Slow() && !s.LabelsLookRandom() && !small) {
    return absl::StrFormat(
        "the loss is at %.3f after %d epochs at learning rate %g, where a guess has %.3f%s: steps "
        "too large to learn anything",
        curve.last_loss, curve.epochs, rate, curve.chance_loss,
        curve.dead_units >= kDead
            ? absl::StrFormat(", and %.0f%% of the units are dead", 100 * curve.dead_units)
            : "");
  }
  if (curve.loss_jumps >= 2 || (curve.loss_jumps == 1 && curve.epochs <= 4)) {
    return absl::StrFormat(
        "the loss jumped up by a tenth and more in %d of %d epochs at learning rate %g",
        curve.loss_jumps, curve.epochs, rate);
  }
  // Without harm where the training set is fitted all the same, and few examples move any unit
  // then.
  if (curve.train >= curve.bound || s.LabelsLookRandom()) return "";
  if (curve.update_ratio >= kHugeUpdate) {
    return absl::StrFormat(
        "steps at learning rate %g changed the weights by up to %.1f%% of their norm at once", rate,
        100 * curve.update_ratio);
  }
  if (curve.dead_units >= kDead) {
    return absl::StrFormat("%.0f%% of the units are dead after %s at learning rate %g",
                           100 * curve.dead_units, EpochsText(curve.epochs), rate);
  }
  return "";
}

std::string RateTooLow(const Signs& s) {
  const Curve& curve = s.curve;
  if (s.LabelsLookRandom()) return "";
  // What is inherited has its steep fall behind it, and learns on with a lower rate.
  const bool blame = !s.trial.inherited && !s.TooSmallToTell();
  const bool fresh = blame && curve.loss_falls && !(curve.train >= curve.bound);
  const double rate = RateOf(s.trial);
  const double usual = UsualRate(s.trial.current);
  if (curve.epochs >= 2 && curve.update_ratio > 0 && curve.update_ratio < kTinyUpdate &&
      !(curve.train >= curve.bound)) {
    return absl::StrFormat(
        "the loss went from %.3f to %.3f in %d epochs: a step at learning rate %g changes the "
        "weights by %.1e of their norm at most",
        curve.first_loss, curve.last_loss, curve.epochs, rate, curve.update_ratio);
  }
  if (fresh && curve.last_loss >= kHardlyFell * curve.first_loss &&
      curve.last_loss >= kStillHigh * curve.chance_loss) {
    return absl::StrFormat(
        "the loss fell in each of %d epochs, and from %.3f to %.3f only, at learning rate %g",
        curve.epochs, curve.first_loss, curve.last_loss, rate);
  }
  if (fresh && rate <= kFarBelowUsual * usual) {
    return absl::StrFormat(
        "the loss fell in each of %d epochs to %.3f, at learning rate %g where %g is usual",
        curve.epochs, curve.last_loss, rate, usual);
  }
  return "";
}

std::string LabelNoise(const Signs& s) {
  const Confusion& confusion = s.confusion;
  const int64_t pairs = int64_t{confusion.classes} * (confusion.classes - 1);
  const bool enough =
      confusion.classes > 2 && confusion.errors >= kErrorsPerPair * pairs && !s.TooSmallToTell();
  if (enough && confusion.error_spread >= kEvenErrors) {
    return absl::StrFormat(
        "%d errors are spread evenly over all pairs of the %d classes (evenness %.2f of 1, where "
        "look-alikes give 0.7): some labels look wrong",
        confusion.errors, confusion.classes, confusion.error_spread);
  }
  if (s.LabelsLookRandom()) {
    return absl::StrFormat(
        "the loss stays at %.3f, where a guess has %.3f, at a learning rate of %g that suits "
        "others: "
        "the labels look as if they had nothing to do with the images",
        s.curve.last_loss, s.curve.chance_loss, RateOf(s.trial));
  }
  if (s.accuracy() && s.curve.epochs >= 3 && s.curve.train < s.curve.bound &&
      -s.curve.gap >= kWorseLabels && s.Unhindered()) {
    return absl::StrFormat(
        "training is at %.4f, below validation at %.4f, with nothing that holds it back: some "
        "training labels look wrong",
        s.curve.train, s.curve.val);
  }
  return "";
}

std::string Imbalance(const Signs& s) {
  const Confusion& confusion = s.confusion;
  const auto few = static_cast<size_t>(confusion.classes / 2);
  if (confusion.neglected.empty() || confusion.neglected.size() > few) return "";
  if (confusion.errors < 20 || confusion.neglected_errors < kMostErrors) return "";
  return absl::StrFormat(
      "class%s %s, seldom seen, take%s %.0f%% of the %d errors: more examples of %s would help "
      "most",
      confusion.neglected.size() == 1 ? "" : "es", absl::StrJoin(confusion.neglected, ", "),
      confusion.neglected.size() == 1 ? "s" : "", 100 * confusion.neglected_errors,
      confusion.errors, confusion.neglected.size() == 1 ? "it" : "them");
}

std::string Overfit(const Signs& s) {
  const Curve& curve = s.curve;
  const bool fits = curve.train >= curve.bound || curve.loss_rise >= kLossRise;
  if (!fits || !(curve.gap >= 0.5 * curve.distance) || !(curve.gap > 2 * curve.noise)) return "";
  return absl::StrFormat(
      "the training set is at %.4f, the validation set only at %.4f: the gap of %.4f makes up much "
      "of the %.4f that are missing",
      s.Shown(curve.train), s.Shown(curve.val), curve.gap, curve.distance);
}

std::string StillImproving(const Signs& s) {
  if (!(s.curve.limit >= s.curve.bound) || s.curve.gain <= 0) return "";
  return absl::StrFormat(
      "the last epoch still gained %.4f; continued, the curve reaches %.4f against a target of "
      "%.4f",
      s.curve.gain, s.Shown(s.curve.limit), s.Shown(s.curve.bound));
}

std::string Underfit(const Signs& s) {
  if (!(s.curve.train_limit < s.curve.bound)) return "";
  return absl::StrFormat(
      "training %.4f and validation %.4f head for %.4f and %.4f, short of %.4f: the network is too "
      "small or held back",
      s.Shown(s.curve.train), s.Shown(s.curve.val), s.Shown(s.curve.train_limit),
      s.Shown(s.curve.limit), s.Shown(s.curve.bound));
}

std::string Plateau(const Signs& s) {
  return absl::StrFormat("flat at %.4f after %s, %.4f short of %.4f", s.Shown(s.curve.best),
                         EpochsText(s.curve.epochs), s.curve.distance, s.Shown(s.curve.bound));
}

struct Rule {
  FindingKind kind;
  std::string (*text)(const Signs&);
};

constexpr Rule kRules[] = {
    {FindingKind::kRateTooHigh, RateTooHigh}, {FindingKind::kRateTooLow, RateTooLow},
    {FindingKind::kLabelNoise, LabelNoise},   {FindingKind::kImbalance, Imbalance},
    {FindingKind::kOverfit, Overfit},         {FindingKind::kStillImproving, StillImproving},
    {FindingKind::kUnderfit, Underfit},       {FindingKind::kPlateau, Plateau},
};

// ---- Around them ----

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
          "the loss was no longer a number after %d good epoch%s at learning rate %g", epochs,
          epochs == 1 ? "" : "s", rate);
      return finding;
    case TrialResult::kFailed:
      finding.text = "the trial failed before it could be judged";
      return finding;
    default:
      finding.text = "the trial never said how good its validation is";
      return finding;
  }
}

std::map<std::string, double> EvidenceOf(const Signs& s) {
  const Curve& curve = s.curve;
  std::map<std::string, double> evidence = {{"epochs", curve.epochs},
                                            {"learning_rate", RateOf(s.trial)},
                                            {"train", s.Shown(curve.train)},
                                            {"validation", s.Shown(curve.val)},
                                            {"best", s.Shown(curve.best)},
                                            {"distance", curve.distance},
                                            {"gap", curve.gap},
                                            {"gain_last_epoch", curve.gain},
                                            {"heading_for", s.Shown(curve.limit)},
                                            {"train_heading_for", s.Shown(curve.train_limit)},
                                            {"first_loss", curve.first_loss},
                                            {"last_loss", curve.last_loss},
                                            {"loss_of_a_guess", curve.chance_loss},
                                            {"loss_jumps", curve.loss_jumps},
                                            {"validation_loss_rise", curve.loss_rise}};
  const auto if_told = [&](const char* name, double value) {
    if (value > 0) evidence[name] = value;
  };
  if_told("gradient_norm", curve.gradient_norm);
  if_told("update_ratio", curve.update_ratio);
  if_told("dead_units", curve.dead_units);
  if_told("standard_error", curve.noise);
  if_told("images", static_cast<double>(curve.images));
  if (s.confusion.classes > 0) {
    evidence["errors"] = static_cast<double>(s.confusion.errors);
    evidence["error_spread"] = s.confusion.error_spread;
    evidence["prediction_spread"] = s.confusion.prediction_spread;
    evidence["neglected_classes"] = static_cast<double>(s.confusion.neglected.size());
    evidence["neglected_errors"] = s.confusion.neglected_errors;
  }
  std::erase_if(evidence, [](const auto& item) { return !std::isfinite(item.second); });
  return evidence;
}

// "3 of 5000 images are missing, ..."; empty: the miss is larger than that, or nobody knows.
std::string WithinNoise(const Curve& curve, const Target& target) {
  if (target.metric != TargetMetric::kValAccuracy || curve.images <= 0) return "";
  const auto images = static_cast<double>(curve.images);
  if (curve.distance >= std::max(curve.noise, 1 / images)) return "";
  return absl::StrFormat(
      "%.1f of %d images are missing%s, and chance alone moves the count by %.1f (standard error "
      "%.4f): more validation images would tell",
      curve.distance * images, curve.images,
      target.confidence > 0 ? absl::StrFormat(" to be %g%% sure", 100 * target.confidence) : "",
      curve.noise * images, curve.noise);
}

}  // namespace

Finding Cause(const TrialHistory& trial, const Target& target) {
  const Signs signs{trial, target, ReadCurve(trial, target), ReadConfusion(trial.confusion)};
  if (trial.broke() || signs.curve.epochs == 0) return Untrained(trial, signs.curve.epochs);
  for (const Rule& rule : kRules) {
    std::string text = rule.text(signs);
    if (!text.empty()) return {rule.kind, std::move(text), EvidenceOf(signs)};
  }
  return {};
}

Finding Diagnose(const TrialHistory& trial, const Target& target) {
  Finding finding = Cause(trial, target);
  if (finding.kind == FindingKind::kNone || finding.kind == FindingKind::kDiverged ||
      finding.kind == FindingKind::kOutOfMemory) {
    return finding;
  }
  const std::string noise = WithinNoise(ReadCurve(trial, target), target);
  if (noise.empty()) return finding;
  finding.text = absl::StrCat(noise, "; else: ", finding.text);
  finding.kind = FindingKind::kWithinNoise;
  return finding;
}

}  // namespace trainyard::core
