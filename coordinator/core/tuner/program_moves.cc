#include "coordinator/core/tuner/program_moves.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"
#include "coordinator/core/tuner/curve.h"

namespace trainyard::core {
namespace {

constexpr int kEpochsMax = 400;
constexpr double kWidthMax = 8;
constexpr int kConvsMax = 3;
constexpr int kDenseUnits = 128;
constexpr int kBatch = 32;  // where it is not known what the program takes
constexpr double kDropoutMax = 0.6;

class Ideas {
 public:
  Ideas(const TrialHistory& base, const TuningTask& task)
      : base_(base), task_(task), curve_(ReadCurve(base, task.target)) {}

  void TrainLonger(double factor) {
    const int epochs = std::max(Changes().epochs, static_cast<int>(base_.epochs.size()));
    const int longer =
        std::min(kEpochsMax, std::max(epochs + 1, static_cast<int>(std::ceil(epochs * factor))));
    Add([&](auto& changes) { changes.epochs = longer; },
        absl::StrFormat("the last epoch gained %.4f and %.4f are missing: %d epochs instead of %d",
                        curve_.gain, curve_.distance, longer, epochs),
        "validation goes on rising");
  }

  void ScaleRate(double factor) {
    const double rate = RateOf(base_);
    if (rate <= 0) return;
    Add([&](auto& changes) { changes.learning_rate = rate * factor; },
        absl::StrFormat(
            "learning rate %g instead of %g: %s", rate * factor, rate,
            factor > 1 ? "steps were small for so few epochs" : "steps were too large to settle"),
        factor > 1 ? "validation rises faster in the first epochs" : "the loss falls steadily");
  }

  void Widen(double factor) {
    if (!task_.limits.architecture) return;
    const double width = Changes().width > 0 ? Changes().width : 1;
    const double wider = std::min(width * factor, kWidthMax);
    Add([&](auto& changes) { changes.width = wider; },
        absl::StrFormat("%g times the filters and hidden units of the program as written: %.4f are "
                        "missing",
                        wider, curve_.distance),
        "training and validation rise together, faster from the first epoch on");
  }

  void AddConv() {
    if (!task_.limits.architecture || !task_.limits.convolutions) return;
    const int convs = std::min(Changes().added_convs + 1, kConvsMax);
    Add([&](auto& changes) { changes.added_convs = convs; },
        "a conv before the head: more layers see more of the image",
        "training rises beyond what it reached, validation with it");
  }

  void AddDense() {
    if (!task_.limits.architecture || Changes().added_dense > 0) return;
    Add([&](auto& changes) { changes.added_dense = kDenseUnits; },
        absl::StrFormat("a dense layer of %d units before the head", kDenseUnits),
        "training rises beyond what it reached, validation with it");
  }

  void Drop(double rate) {
    if (!task_.limits.architecture || Changes().dropout >= rate || rate > kDropoutMax) return;
    Add([&](auto& changes) { changes.dropout = rate; },
        absl::StrFormat("the gap between training and validation is %.4f: dropout %g before the "
                        "head",
                        curve_.gap, rate),
        "training falls a little, validation rises: the gap closes");
  }

  void SmallerBatch() {
    const int batch = Changes().batch_size > 0 ? Changes().batch_size / 2 : kBatch;
    if (batch < 1) return;
    Add([&](auto& changes) { changes.batch_size = batch; },
        absl::StrFormat("batches of %d examples need less memory", batch),
        "the trial fits into memory");
  }

  std::vector<Move> Take() { return std::move(moves_); }

 private:
  const network::ProgramChanges& Changes() const { return base_.configuration.changes; }

  template <typename Change>
  void Add(Change change, std::string reason, std::string expectation) {
    network::Configuration next = base_.configuration;
    change(next.changes);
    if (next == base_.configuration) return;
    moves_.push_back({std::move(next), std::move(reason), std::move(expectation)});
  }

  const TrialHistory& base_;
  const TuningTask& task_;
  const Curve curve_;
  std::vector<Move> moves_;
};

// What this finding asks for, best first.
void AddFor(FindingKind kind, Ideas& ideas) {
  switch (kind) {
    case FindingKind::kStillImproving:
      ideas.TrainLonger(2);
      ideas.Widen(1.5);
      ideas.ScaleRate(2);
      break;
    case FindingKind::kOverfit:
      ideas.Drop(0.3);
      ideas.TrainLonger(2);
      ideas.Drop(0.5);
      ideas.ScaleRate(1.0 / 3);
      break;
    case FindingKind::kDiverged:
      ideas.ScaleRate(1.0 / 3);
      ideas.ScaleRate(0.1);
      ideas.ScaleRate(0.01);
      break;
    case FindingKind::kOutOfMemory:
      ideas.SmallerBatch();
      break;
    default:
      ideas.Widen(2);
      ideas.AddConv();
      ideas.TrainLonger(2);
      ideas.AddDense();
      ideas.ScaleRate(1.0 / 3);
      break;
  }
}

}  // namespace

std::vector<Move> ProgramMoves(const TrialHistory& base, const Finding& finding,
                               const TuningTask& task) {
  Ideas ideas(base, task);
  AddFor(finding.kind, ideas);
  if (finding.kind != FindingKind::kDiverged && finding.kind != FindingKind::kOutOfMemory) {
    ideas.Widen(1.5);
    ideas.TrainLonger(1.5);
    ideas.AddDense();
    ideas.AddConv();
    ideas.Drop(0.2);
    ideas.ScaleRate(0.5);
    ideas.ScaleRate(2);
    ideas.TrainLonger(3);
  }
  return ideas.Take();
}

double RateOf(const TrialHistory& trial) {
  if (!trial.configuration.IsProgram()) return trial.configuration.training.optimizer.learning_rate;
  if (trial.configuration.changes.learning_rate > 0) {
    return trial.configuration.changes.learning_rate;
  }
  const double first = trial.epochs.empty() ? 0 : trial.epochs.front().learning_rate;
  return std::isfinite(first) && first > 0 ? first : 0;
}

}  // namespace trainyard::core
