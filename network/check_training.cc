// What is wrong with the hyperparameters.
#include <algorithm>

#include "network/problems.h"
#include "network/shapes.h"

namespace trainyard::network {
namespace {

constexpr int kEpochsMax = 100'000;
constexpr int kBatchMax = 65'536;

void CheckOptimizer(const Optimizer& optimizer, Problems* problems) {
  const auto& o = optimizer;
  problems->Real("train.lr", o.learning_rate, o.learning_rate > 0 && o.learning_rate <= 100,
                 "a number greater than 0, at most 100");
  const std::string below_one = "a number from 0 to less than 1";
  problems->Real("train.momentum", o.momentum, o.momentum >= 0 && o.momentum < 1, below_one);
  problems->Real("train.beta1", o.beta1, o.beta1 >= 0 && o.beta1 < 1, below_one);
  problems->Real("train.beta2", o.beta2, o.beta2 >= 0 && o.beta2 < 1, below_one);
  problems->Real("train.epsilon", o.epsilon, o.epsilon > 0 && o.epsilon <= 1,
                 "a number greater than 0, at most 1");
  problems->Real("train.weight_decay", o.weight_decay, o.weight_decay >= 0 && o.weight_decay <= 10,
                 "a number from 0 to 10");
  problems->Real("train.clip_norm", o.clip_norm, o.clip_norm >= 0,
                 "a number of at least 0 (0: no clipping)");
}

void CheckSchedule(const Schedule& schedule, int epochs, Problems* problems) {
  const auto& s = schedule;
  const std::string path = "train.schedule.";
  problems->Real(path + "warmup_epochs", s.warmup_epochs,
                 s.warmup_epochs >= 0 && s.warmup_epochs <= epochs,
                 "a number from 0 to the " + std::to_string(epochs) + " epochs of train.epochs");
  if (s.kind == ScheduleKind::kOneCycle && s.warmup_epochs > 0) {
    problems->Add(path + "warmup_epochs", "found " + Text(s.warmup_epochs) +
                                              ", expected 0: one_cycle rises by itself (peak_at)");
  }
  problems->Real(path + "step_epochs", s.step_epochs, s.step_epochs > 0, "a number greater than 0");
  problems->Real(path + "step_factor", s.step_factor, s.step_factor > 0 && s.step_factor <= 1,
                 "a number greater than 0, at most 1");
  problems->Real(path + "final_factor", s.final_factor, s.final_factor >= 0 && s.final_factor <= 1,
                 "a number from 0 to 1");
  problems->Real(path + "peak_at", s.peak_at, s.peak_at > 0 && s.peak_at < 1,
                 "a number between 0 and 1, both excluded");
}

// Without a known input (its sides are 0), only what holds for any.
void CheckAugmentation(const Augmentation& augmentation, const Shape& input, Problems* problems) {
  int side = kImageSideMax;
  if (input.height > 0 && input.width > 0) side = std::min(input.height, input.width);
  problems->Range("train.augmentation.shift", augmentation.shift, 0, side - 1);
  problems->Range("train.augmentation.cutout", augmentation.cutout, 0, side);
}

}  // namespace

std::vector<Problem> CheckTraining(const Training& training, const Network& network) {
  Problems problems;
  problems.Range("train.epochs", training.epochs, 1, kEpochsMax);
  problems.Range("train.batch_size", training.batch_size, 1, kBatchMax);
  CheckOptimizer(training.optimizer, &problems);
  CheckSchedule(training.schedule, training.epochs, &problems);
  CheckAugmentation(training.augmentation, network.input, &problems);
  problems.Real("train.label_smoothing", training.label_smoothing,
                training.label_smoothing >= 0 && training.label_smoothing < 1,
                "a number from 0 to less than 1");
  // Of a message, which may be newer than we are; specs have words.
  const int precision = static_cast<int>(training.precision);
  if (*PrecisionName(training.precision) == '\0') {
    problems.Add("train.precision",
                 "found number " + std::to_string(precision) + ", expected fp32, tf32 or bf16");
  }
  return problems.Take();
}

std::vector<Problem> CheckChanges(const ProgramChanges& changes) {
  constexpr int kConvsMax = 8;
  constexpr int kUnitsMax = 16'384;
  Problems problems;
  problems.Range("changes.epochs", changes.epochs, 0, kEpochsMax);
  problems.Range("changes.batch_size", changes.batch_size, 0, kBatchMax);
  problems.Real("changes.lr", changes.learning_rate,
                changes.learning_rate >= 0 && changes.learning_rate <= 100,
                "a number from 0 (as the program has it) to 100");
  problems.Real("changes.width", changes.width,
                changes.width == 0 || (changes.width >= 0.1 && changes.width <= 16),
                "0 (as the program has it) or a factor from 0.1 to 16");
  problems.Range("changes.added_convs", changes.added_convs, 0, kConvsMax);
  problems.Range("changes.added_dense", changes.added_dense, 0, kUnitsMax);
  problems.Real("changes.dropout", changes.dropout, changes.dropout >= 0 && changes.dropout < 1,
                "a number from 0 to less than 1");
  return problems.Take();
}

}  // namespace trainyard::network
