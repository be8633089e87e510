#include "coordinator/core/tuner/moves.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "absl/strings/str_format.h"
#include "coordinator/core/ranking.h"
#include "coordinator/core/tuner/curve.h"
#include "coordinator/core/tuner/grow.h"
#include "coordinator/core/tuner/program_moves.h"

namespace trainyard::core {
namespace {

constexpr int kFiltersMax = 512;
constexpr int kEpochsMax = 400;

// Collects moves on one base.
class Ideas {
 public:
  Ideas(const TrialHistory& base, const TuningTask& task)
      : base_(base.configuration),
        task_(task),
        curve_(ReadCurve(base, task.target)),
        ratio_(ErrorRatio(curve_, task.target)) {}

  // Error falls about with the fourth root of the width, so as much wider as that asks for.
  void GrowToTarget() { Grow(std::clamp(std::pow(ratio_, 4), 1.5, 4.0)); }

  void Grow(double factor) {
    if (!MayRebuild()) return;
    std::optional<network::Network> wider = Widen(base_.network, factor, kFiltersMax);
    const network::Network& so_far = wider ? *wider : base_.network;
    std::optional<network::Network> normed = AddBatchNorms(so_far);
    if (!wider && !normed) return;
    network::Configuration next = base_;
    next.network = normed ? *normed : so_far;
    Add(std::move(next),
        absl::StrFormat("error is %.2f times what the target allows; %s%s%s", ratio_,
                        wider ? absl::StrFormat("convs get %.1f times the filters (from %d)",
                                                factor, NarrowestConv(base_.network))
                              : "",
                        wider && normed ? " and " : "",
                        normed ? "each conv a batch_norm where it had none" : ""),
        "training and validation rise together, faster from the first epoch on");
  }

  void DeepenNetwork() {
    if (!MayRebuild()) return;
    if (std::optional<network::Network> deeper = Deepen(base_.network)) {
      network::Configuration next = base_;
      next.network = std::move(*deeper);
      Add(std::move(next),
          "a block conv-batch_norm-relu is added where the image is still large enough: more "
          "layers see more of it",
          "training rises beyond what it reached, validation with it");
    }
  }

  void Regularise(double dropout, double decay_factor) {
    network::Configuration next = base_;
    std::string what;
    if (MayRebuild()) {
      if (std::optional<network::Network> dropped = Drop(base_.network, dropout)) {
        next.network = std::move(*dropped);
        what = absl::StrFormat("dropout %g before the last dense layer", dropout);
      }
    }
    double& decay = next.training.optimizer.weight_decay;
    if (decay_factor > 1) {
      const double raised = std::min(std::max(decay, 1e-4) * decay_factor, 0.1);
      if (raised > decay) {
        what += absl::StrFormat("%sweight decay %g instead of %g", what.empty() ? "" : ", ", raised,
                                decay);
        decay = raised;
      }
    }
    Add(std::move(next),
        absl::StrFormat("the gap between training and validation is %.4f: %s", curve_.gap, what),
        "training falls a little, validation rises: the gap closes");
  }

  // Shifted, and where images have colours mirrored: a digit mirrored is another one.
  void Augment(int cutout) {
    network::Configuration next = base_;
    network::Augmentation& augmentation = next.training.augmentation;
    const network::Shape& input = base_.network.input;
    const int side = std::min(input.height, input.width);
    augmentation.shift = std::max(augmentation.shift, std::max(1, side / 14));
    if (input.channels == 3) augmentation.flip = true;
    augmentation.cutout = std::max(augmentation.cutout, cutout * side / 100);
    Add(std::move(next),
        absl::StrFormat("the gap between training and validation is %.4f: images shifted by up to "
                        "%d pixels%s%s make the training set larger",
                        curve_.gap, augmentation.shift, augmentation.flip ? ", mirrored" : "",
                        augmentation.cutout > 0 ? ", with a square cut out" : ""),
        "training falls, validation rises, and keeps rising for more epochs");
  }

  void Relax() {
    network::Configuration next = base_;
    if (MayRebuild()) {
      if (std::optional<network::Network> less = DropLess(base_.network, 0.1)) {
        next.network = std::move(*less);
      }
    }
    next.training.optimizer.weight_decay = std::min(base_.training.optimizer.weight_decay, 1e-4);
    Add(std::move(next),
        absl::StrFormat("training is at %.4f and held back by dropout or weight decay: both are "
                        "lowered",
                        Shown(curve_.train)),
        "training rises at once");
  }

  void TrainLonger(double factor) {
    network::Configuration next = base_;
    const int epochs = base_.training.epochs;
    next.training.epochs =
        std::min(kEpochsMax, std::max(epochs + 1, static_cast<int>(std::ceil(epochs * factor))));
    Add(std::move(next),
        absl::StrFormat("the last epoch gained %.4f and %.4f are missing: %d epochs instead of %d",
                        curve_.gain, curve_.distance, next.training.epochs, epochs),
        absl::StrFormat("validation goes on towards %.4f", Shown(curve_.limit)));
  }

  void ScaleRate(double factor) {
    network::Configuration next = base_;
    double& rate = next.training.optimizer.learning_rate;
    rate *= factor;
    Add(std::move(next),
        absl::StrFormat(
            "learning rate %g instead of %g: %s", rate, base_.training.optimizer.learning_rate,
            factor > 1 ? "steps were small for so few epochs" : "steps were too large to settle"),
        factor > 1 ? "validation rises faster in the first epochs"
                   : "the loss stays finite and falls steadily");
  }

  // Smaller steps, and none of them beyond a norm of 1.
  void Calm(double factor) {
    network::Configuration next = base_;
    network::Optimizer& optimizer = next.training.optimizer;
    optimizer.learning_rate *= factor;
    optimizer.clip_norm = optimizer.clip_norm > 0 ? std::min(optimizer.clip_norm, 1.0) : 1.0;
    Add(std::move(next),
        absl::StrFormat("learning rate %g was too much: %g, and gradients clipped at norm 1",
                        base_.training.optimizer.learning_rate, optimizer.learning_rate),
        "the loss stays finite and falls from the first epoch on");
  }

  void Anneal() {
    network::Configuration next = base_;
    next.training.schedule.kind = network::ScheduleKind::kCosine;
    next.training.schedule.final_factor = 0;
    Add(std::move(next), "the learning rate falls to nothing at the end, along a cosine",
        "validation gains in the last third of the epochs");
  }

  void Smooth() {
    network::Configuration next = base_;
    next.training.label_smoothing = std::max(next.training.label_smoothing, 0.1);
    Add(std::move(next), "labels smoothed by 0.1: the network should be less sure of itself",
        "validation rises a little, its loss more");
  }

  void SmallerBatch() {
    network::Configuration next = base_;
    next.training.batch_size = std::max(1, base_.training.batch_size / 2);
    next.training.optimizer.learning_rate /= 2;
    Add(std::move(next),
        absl::StrFormat("batches of %d images instead of %d need half of the memory; the learning "
                        "rate follows",
                        next.training.batch_size, base_.training.batch_size),
        "the trial fits into memory");
  }

  std::vector<Move> Take() { return std::move(moves_); }

 private:
  bool MayRebuild() const { return task_.limits.architecture; }
  double Shown(double value) const {
    return task_.target.metric == TargetMetric::kValAccuracy ? value : -value;
  }
  void Add(network::Configuration next, std::string reason, std::string expectation) {
    if (next == base_) return;
    moves_.push_back({std::move(next), std::move(reason), std::move(expectation)});
  }

  const network::Configuration& base_;
  const TuningTask& task_;
  const Curve curve_;
  const double ratio_;
  std::vector<Move> moves_;
};

// What this finding asks for, best first.
void AddFor(FindingKind kind, Ideas& ideas) {
  switch (kind) {
    case FindingKind::kUnderfit:
      ideas.GrowToTarget();
      ideas.DeepenNetwork();
      ideas.Relax();
      ideas.TrainLonger(2);
      break;
    case FindingKind::kOverfit:
      ideas.Augment(/*cutout=*/0);
      ideas.Regularise(/*dropout=*/0.3, /*decay_factor=*/1);
      ideas.Regularise(/*dropout=*/0.5, /*decay_factor=*/4);
      ideas.Augment(/*cutout=*/30);
      ideas.Smooth();
      break;
    case FindingKind::kStillImproving:
      ideas.TrainLonger(2);
      ideas.GrowToTarget();
      ideas.ScaleRate(2);
      break;
    case FindingKind::kDiverged:
      ideas.Calm(1.0 / 3);
      ideas.Calm(0.1);
      ideas.Calm(0.01);
      break;
    case FindingKind::kOutOfMemory:
      ideas.SmallerBatch();
      break;
    default:
      ideas.GrowToTarget();
      ideas.Anneal();
      ideas.DeepenNetwork();
      ideas.Augment(/*cutout=*/0);
      ideas.TrainLonger(2);
      break;
  }
}

}  // namespace

std::vector<Move> Moves(const TrialHistory& base, const Finding& finding, const TuningTask& task) {
  if (base.configuration.IsProgram()) return ProgramMoves(base, finding, task);
  Ideas ideas(base, task);
  AddFor(finding.kind, ideas);
  if (finding.kind != FindingKind::kDiverged && finding.kind != FindingKind::kOutOfMemory) {
    ideas.Grow(1.5);
    ideas.DeepenNetwork();
    ideas.TrainLonger(1.5);
    ideas.Augment(/*cutout=*/0);
    ideas.Anneal();
    ideas.Smooth();
    ideas.ScaleRate(0.5);
    ideas.ScaleRate(2);
    ideas.Regularise(/*dropout=*/0.2, /*decay_factor=*/2);
    ideas.TrainLonger(3);
  }
  return ideas.Take();
}

}  // namespace trainyard::core
