#include "coordinator/core/tuner/program_moves.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"
#include "coordinator/core/tuner/offers.h"
#include "coordinator/core/tuner/rates.h"

namespace trainyard::core {
namespace {

constexpr double kWidthMax = 8;
constexpr int kConvsMax = 3;
constexpr int kDenseUnits = 128;
constexpr int kBatch = 32;  // where it is not known what the program takes
constexpr char kRiseTogether[] = "training and validation rise together";

void TrainLonger(Offers& offers, double factor, double scale) {
  network::Configuration next = offers.from();
  const int before = std::max(next.changes.epochs, static_cast<int>(offers.base().epochs.size()));
  const double longer = std::max(std::ceil(before * factor), before + 1.0);
  const int epochs = static_cast<int>(std::min<double>(longer, kEpochsMax));
  if (epochs <= before) return;
  next.changes.epochs = epochs;
  offers.Add(
      kTrainLonger, std::move(next),
      absl::StrFormat("the last epoch gained %.4f and %.4f are missing: %d epochs instead of "
                      "%d",
                      offers.curve().gain, offers.curve().distance, epochs, before),
      "validation goes on rising", {.scale = scale});
}

void ScaleRate(Offers& offers, double factor, double scale) {
  const double before = RateOf(offers.base());
  const double rate = before * factor;
  if (before <= 0 || rate < kRateMin || rate > kRateMax) return;
  network::Configuration next = offers.from();
  next.changes.learning_rate = rate;
  offers.Add(factor > 1 ? kRaiseRate : kLowerRate, std::move(next),
             absl::StrFormat("learning rate %g instead of %g: %s", rate, before,
                             factor > 1 ? "steps were small for so few epochs"
                                        : "steps were too large to settle"),
             factor > 1 ? "the loss falls faster in the first epochs" : "the loss falls steadily",
             {.scale = scale});
}

void WidenProgram(Offers& offers, double factor) {
  network::Configuration next = offers.from();
  double& width = next.changes.width;
  const double before = width > 0 ? width : 1;
  if (before >= kWidthMax) return;
  width = std::min(before * factor, kWidthMax);
  offers.Add(kWiden, std::move(next),
             absl::StrFormat("%g times the filters and hidden units of the program as written: "
                             "%.4f are missing",
                             std::min(before * factor, kWidthMax), offers.curve().distance),
             kRiseTogether, {.scale = WidthShare(factor)});
}

void AddConv(Offers& offers) {
  network::Configuration next = offers.from();
  if (!offers.task().limits.convolutions || next.changes.added_convs >= kConvsMax) return;
  ++next.changes.added_convs;
  offers.Add(kDeepen, std::move(next), "a conv before the head: more layers see more of the image",
             kRiseTogether);
}

void AddDense(Offers& offers) {
  network::Configuration next = offers.from();
  if (next.changes.added_dense > 0) return;
  next.changes.added_dense = kDenseUnits;
  offers.Add(kAddUnits, std::move(next),
             absl::StrFormat("a dense layer of %d units before the head", kDenseUnits),
             kRiseTogether);
}

void DropOut(Offers& offers, double rate, double scale) {
  network::Configuration next = offers.from();
  if (next.changes.dropout >= rate) return;
  next.changes.dropout = rate;
  const double gap = offers.curve().gap;
  offers.Add(kRegularise, std::move(next),
             absl::StrFormat("%sdropout %g before the head",
                             std::isnan(gap) ? ""
                                             : absl::StrFormat("the gap between training and "
                                                               "validation is %.4f: ",
                                                               gap),
                             rate),
             "training falls a little, validation rises: the gap closes", {.scale = scale});
}

void Relax(Offers& offers) {
  network::Configuration next = offers.from();
  if (next.changes.dropout <= 0.1) return;
  next.changes.dropout = 0.1;
  offers.Add(kRelax, std::move(next), "dropout holds it back: it is lowered to 0.1",
             "training rises at once");
}

void SmallerBatch(Offers& offers) {
  network::Configuration next = offers.from();
  const int before = next.changes.batch_size;
  const int batch = before > 0 ? before / 2 : kBatch;
  if (batch < 1) return;
  next.changes.batch_size = batch;
  offers.Add(kSmallerBatch, std::move(next),
             absl::StrFormat("batches of %d examples need less memory", batch),
             "the trial fits into memory");
}

}  // namespace

std::vector<Move> ProgramMoves(const TrialHistory& base, const Finding& finding,
                               const TuningTask& task) {
  Offers offers(base, finding, task);
  if (finding.kind == FindingKind::kOutOfMemory) {
    SmallerBatch(offers);
    return offers.Take();
  }
  if (finding.kind == FindingKind::kDiverged) {
    ScaleRate(offers, 1.0 / 3, 1);
    ScaleRate(offers, 0.1, 0.8);
    ScaleRate(offers, 0.01, 0.4);
    return offers.Take();
  }
  if (task.limits.architecture) {
    WidenProgram(offers, 2);
    WidenProgram(offers, 1.5);
    AddConv(offers);
    AddDense(offers);
    DropOut(offers, 0.3, 1);
    DropOut(offers, 0.5, 0.8);
    DropOut(offers, 0.2, 0.6);
    Relax(offers);
  }
  const bool too_low = offers.kind() == FindingKind::kRateTooLow;
  TrainLonger(offers, 2, 1);
  TrainLonger(offers, 1.5, 0.8);
  TrainLonger(offers, 3, 0.7);
  ScaleRate(offers, 0.3, 1);
  ScaleRate(offers, 0.1, 0.6);
  ScaleRate(offers, too_low ? 5 : 2, 1);
  return offers.Take();
}

}  // namespace trainyard::core
