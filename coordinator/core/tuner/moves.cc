#include "coordinator/core/tuner/moves.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"
#include "coordinator/core/tuner/grow.h"
#include "coordinator/core/tuner/offers.h"
#include "coordinator/core/tuner/program_moves.h"
#include "coordinator/core/tuner/rates.h"

namespace trainyard::core {
namespace {

using network::Configuration;
using network::Network;
using network::Optimizer;

constexpr int kFiltersMax = 512;
constexpr double kMuchWider = 2;  // more new weights than old ones, by far
constexpr char kRiseTogether[] = "training and validation rise together";

Configuration With(Configuration next, Network network) {
  next.network = std::move(network);
  return next;
}

// ---- The architecture ----

void Grow(Offers& offers, double factor) {
  const Configuration& from = offers.from();
  std::optional<Network> wider = Widen(from.network, factor, kFiltersMax);
  if (!wider) return;
  const std::optional<Network> normed = AddBatchNorms(*wider);
  const int narrowest = NarrowestConv(from.network);
  const std::string what =
      narrowest > 0
          ? absl::StrFormat("convs get %.1f times the filters (from %d)", factor, narrowest)
          : absl::StrFormat("hidden layers get %.1f times the units", factor);
  offers.Add(kWiden, With(from, normed ? *normed : *wider),
             absl::StrFormat("error is %.2f times what the target allows; %s%s",
                             ErrorRatio(offers.curve(), offers.task().target), what,
                             normed ? " and each conv a batch_norm where it had none" : ""),
             kRiseTogether, {.scale = WidthShare(factor), .mostly_new = factor >= kMuchWider});
}

// Far from the target, wider and deeper at once: either alone would be followed by the other.
void GrowBothWays(Offers& offers, double factor) {
  const Configuration& from = offers.from();
  std::optional<Network> grown = Widen(from.network, factor, kFiltersMax);
  if (!grown) return;
  if (std::optional<Network> normed = AddBatchNorms(*grown)) grown = std::move(normed);
  const std::optional<Network> deeper = Deepen(*grown);
  if (!deeper) return;
  offers.Add(kGrow, With(from, *deeper),
             absl::StrFormat("error is %.2f times what the target allows; layers get %.1f times "
                             "the filters and units, and a block conv-batch_norm-relu more",
                             ErrorRatio(offers.curve(), offers.task().target), factor),
             kRiseTogether, {.scale = WidthShare(factor), .mostly_new = true});
}

void ChangeArchitecture(Offers& offers) {
  const Configuration& from = offers.from();
  // Error falls about with the fourth root of the width, so as much wider as the target asks for.
  const double ratio = ErrorRatio(offers.curve(), offers.task().target);
  const double wanted = std::clamp(std::pow(ratio, 4), kMuchWider, 4.0);
  GrowBothWays(offers, wanted);
  Grow(offers, wanted);
  Grow(offers, 1.5);
  if (const auto normed = AddBatchNorms(from.network)) {
    offers.Add(kBatchNorm, With(from, *normed), "each conv gets a batch_norm where it had none",
               "the loss falls faster from the first epoch on");
  }
  if (const auto deeper = Deepen(from.network)) {
    offers.Add(
        kDeepen, With(from, *deeper),
        "a block conv-batch_norm-relu where the image is still large enough: more layers see "
        "more of it",
        kRiseTogether);
  }
  if (const auto deeper = AddResidual(from.network)) {
    offers.Add(kResidual, With(from, *deeper),
               "a residual block of two convs, which starts as the identity: depth that costs "
               "nothing until it helps",
               kRiseTogether);
  }
  if (const auto larger = EnlargeKernels(from.network)) {
    offers.Add(kLargerKernels, With(from, *larger),
               "kernels grow by two pixels: each value sees more of the image", kRiseTogether);
  }
  const int units = std::max(128, 2 * from.network.classes);
  if (const auto more = AddUnits(from.network, 2, units, 4 * kFiltersMax)) {
    offers.Add(kAddUnits, With(from, *more),
               more->layers.size() > from.network.layers.size()
                   ? absl::StrFormat("a hidden dense layer of %d units before the last", units)
                   : "hidden dense layers get twice the units",
               kRiseTogether);
  }
}

// ---- How strongly it is held back ----

std::string GapText(const Offers& offers) {
  if (std::isnan(offers.curve().gap)) return "";
  return absl::StrFormat("the gap between training and validation is %.4f: ", offers.curve().gap);
}

void Regularise(Offers& offers, double dropout, double decay_factor) {
  Configuration next = offers.from();
  std::string what;
  if (offers.task().limits.architecture) {
    if (std::optional<Network> dropped = Drop(next.network, dropout)) {
      next.network = std::move(*dropped);
      what = absl::StrFormat("dropout %g before the last dense layer", dropout);
    }
  }
  double& decay = next.training.optimizer.weight_decay;
  const double raised = std::min(std::max(decay, 1e-4) * decay_factor, 0.1);
  if (decay_factor > 1 && raised > decay) {
    absl::StrAppendFormat(&what, "%sweight decay %g instead of %g", what.empty() ? "" : ", ",
                          raised, decay);
    decay = raised;
  }
  if (what.empty()) return;
  offers.Add(kRegularise, std::move(next), GapText(offers) + what,
             "training falls a little, validation rises: the gap closes");
}

// Shifted, and where images have colours mirrored: a digit mirrored is another one.
void Augment(Offers& offers, int cutout, double scale) {
  Configuration next = offers.from();
  network::Augmentation& augmentation = next.training.augmentation;
  const network::Shape& input = next.network.input;
  const int side = std::min(input.height, input.width);
  const network::Augmentation before = augmentation;
  augmentation.shift = std::max(augmentation.shift, std::max(1, side / 14));
  if (input.channels == 3) augmentation.flip = true;
  augmentation.cutout = std::max(augmentation.cutout, cutout * side / 100);
  if (augmentation == before) return;
  offers.Add(
      kAugment, std::move(next),
      absl::StrFormat("%simages shifted by up to %d pixels%s%s make the training set larger",
                      GapText(offers), augmentation.shift, augmentation.flip ? ", mirrored" : "",
                      augmentation.cutout > 0 ? ", with a square cut out" : ""),
      "training falls, validation rises, and keeps rising for more epochs", {.scale = scale});
}

void SmoothLabels(Offers& offers) {
  Configuration next = offers.from();
  if (next.training.label_smoothing >= 0.1) return;
  next.training.label_smoothing = 0.1;
  offers.Add(kSmoothLabels, std::move(next),
             "labels smoothed by 0.1: one that is wrong pulls less, and the network is less sure "
             "of itself",
             "training falls a little, validation rises");
}

void Relax(Offers& offers) {
  Configuration next = offers.from();
  if (offers.task().limits.architecture) {
    if (std::optional<Network> less = DropLess(next.network, 0.1)) {
      next.network = std::move(*less);
    }
  }
  network::Training& training = next.training;
  training.optimizer.weight_decay = std::min(training.optimizer.weight_decay, 1e-4);
  training.augmentation.cutout = 0;
  if (next == offers.from()) return;
  offers.Add(kRelax, std::move(next),
             std::isnan(offers.curve().train)
                 ? "dropout, weight decay and cutout hold it back: they are lowered"
                 : absl::StrFormat("training is at %.4f and held back by dropout, weight decay or "
                                   "cutout: they are lowered",
                                   offers.shown(offers.curve().train)),
             "training rises at once");
}

// ---- How it is trained ----

void TrainLonger(Offers& offers, double factor, double scale) {
  Configuration next = offers.from();
  const int before = next.training.epochs;
  const double longer = std::max(std::ceil(before * factor), before + 1.0);
  const int epochs = std::max(before, static_cast<int>(std::min<double>(longer, kEpochsMax)));
  if (epochs == before) return;
  next.training.epochs = epochs;
  offers.Add(kTrainLonger, std::move(next),
             absl::StrFormat("the last epoch gained %.4f and %.4f are missing: %s",
                             offers.curve().gain, offers.curve().distance,
                             offers.inherits()
                                 ? "it trains on"
                                 : absl::StrFormat("%d epochs instead of %d", epochs, before)),
             "validation goes on rising", {.scale = scale});
}

void ScaleRate(Offers& offers, double factor, double scale) {
  Configuration next = offers.from();
  double& rate = next.training.optimizer.learning_rate;
  const double before = rate;
  rate *= factor;
  if (rate < kRateMin || rate > kRateMax) return;
  offers.Add(factor > 1 ? kRaiseRate : kLowerRate, std::move(next),
             absl::StrFormat("learning rate %g instead of %g: %s", rate, before,
                             factor > 1 ? "steps were small for so few epochs"
                                        : "steps were too large to settle"),
             factor > 1 ? "the loss falls faster in the first epochs"
                        : "the loss falls steadily, and further",
             {.scale = scale, .keep_rate = true});
}

// Smaller steps, and none of them beyond a norm of 1.
void Calm(Offers& offers, double factor, double scale) {
  Configuration next = offers.from();
  Optimizer& optimizer = next.training.optimizer;
  const double before = optimizer.learning_rate;
  optimizer.learning_rate *= factor;
  if (optimizer.learning_rate < kRateMin) return;
  ClipAtOne(optimizer);
  offers.Add(kLowerRate, std::move(next),
             absl::StrFormat("learning rate %g was too much: %g, and gradients clipped at norm 1",
                             before, optimizer.learning_rate),
             "the loss stays finite and falls from the first epoch on",
             {.scale = scale, .keep_rate = true});
}

void Anneal(Offers& offers) {
  Configuration next = offers.from();
  network::Schedule& schedule = next.training.schedule;
  const bool falls = RateFalls(schedule);
  if (falls && schedule.final_factor <= 0.1) return;
  if (!falls) schedule.kind = network::ScheduleKind::kCosine;
  schedule.final_factor = 0;
  offers.Add(kAnneal, std::move(next), "the learning rate falls to nothing at the end",
             "validation gains in the last third of the epochs");
}

void SmallerBatch(Offers& offers, bool memory) {
  Configuration next = offers.from();
  int& batch = next.training.batch_size;
  const int before = batch;
  if (before < 2 || (!memory && before < 64)) return;
  batch /= 2;
  // As many noisy steps need smaller ones; for more and larger steps per epoch it stays.
  if (memory) next.training.optimizer.learning_rate /= 2;
  offers.Add(kSmallerBatch, std::move(next),
             memory ? absl::StrFormat("batches of %d images instead of %d need half of the memory; "
                                      "the learning rate follows",
                                      before / 2, before)
                    : absl::StrFormat("batches of %d images instead of %d: twice as many steps in "
                                      "an epoch",
                                      before / 2, before),
             memory ? "the trial fits into memory" : "the loss falls faster per epoch",
             {.keep_rate = memory});
}

void ChangeTraining(Offers& offers) {
  const bool too_low = offers.kind() == FindingKind::kRateTooLow;
  const bool too_high = offers.kind() == FindingKind::kRateTooHigh;
  const Curve& curve = offers.curve();
  TrainLonger(offers, 2, 1);
  TrainLonger(offers, 1.5, 0.8);
  // What never learned anything is far off; whether labels or the rate are to blame shows soon.
  const bool never_learned = NeverLearned(curve);
  const double doubt = never_learned && offers.kind() == FindingKind::kLabelNoise ? 10 : 1;
  ScaleRate(offers, never_learned ? 0.1 : 0.3, doubt);
  ScaleRate(offers, never_learned ? 0.3 : 0.1, 0.6 * doubt);
  if (!too_high) ScaleRate(offers, too_low ? 5 : 2, 1);
  if (too_low) ScaleRate(offers, 2, 0.6);
  if (curve.loss_jumps > 0) Calm(offers, 0.5, 0.8);
  Anneal(offers);
  SmallerBatch(offers, /*memory=*/false);
  Augment(offers, /*cutout=*/0, 1);
  Augment(offers, /*cutout=*/30, 0.7);
  Regularise(offers, /*dropout=*/0.3, /*decay_factor=*/1);
  Regularise(offers, /*dropout=*/0.5, /*decay_factor=*/4);
  SmoothLabels(offers);
  Relax(offers);
}

}  // namespace

std::vector<Move> Moves(const TrialHistory& base, const Finding& finding, const TuningTask& task) {
  if (base.configuration.IsProgram()) return ProgramMoves(base, finding, task);
  Offers offers(base, finding, task);
  if (finding.kind == FindingKind::kOutOfMemory) {
    SmallerBatch(offers, /*memory=*/true);
    return offers.Take();
  }
  if (finding.kind == FindingKind::kDiverged) {
    Calm(offers, 1.0 / 3, 1);
    Calm(offers, 0.1, 0.8);
    Calm(offers, 0.01, 0.4);
    return offers.Take();
  }
  if (task.limits.architecture) ChangeArchitecture(offers);
  ChangeTraining(offers);
  return offers.Take();
}

}  // namespace trainyard::core
