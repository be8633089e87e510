// How a network is trained: every hyperparameter that a spec can set and a tweak can change.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "network/network.h"

namespace trainyard::network {

enum class OptimizerKind { kSgd, kAdamW };

// SGD:   v = momentum v + (g + weight_decay w);  w -= lr (nesterov ? g + momentum v : v)
//        (with g already including the decay term, as in PyTorch).
// AdamW: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.
// Decay acts on conv and dense weights only, not on biases, gamma and beta.
struct Optimizer {
  OptimizerKind kind = OptimizerKind::kSgd;
  double learning_rate = 0.05;
  double momentum = 0.9;
  bool nesterov = true;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 5e-4;
  double clip_norm = 0;  // largest L2 norm of the whole gradient; 0 is no clipping
  bool operator==(const Optimizer&) const = default;
};

enum class ScheduleKind { kConstant, kStep, kCosine, kOneCycle };

// The learning rate as a function of the step. Warm-up rises linearly from 0 over `warmup_epochs`.
//   constant   learning_rate
//   step       learning_rate * step_factor ^ floor(epoch / step_epochs)
//   cosine     learning_rate -> learning_rate * final_factor, half a cosine over the epochs
//   one_cycle  linear 0 -> learning_rate over `peak_at` of all steps, then linear down to
//              learning_rate * final_factor (Smith and Topin, "Super-Convergence", 2018)
struct Schedule {
  ScheduleKind kind = ScheduleKind::kCosine;
  double warmup_epochs = 0;
  double step_epochs = 10;
  double step_factor = 0.1;
  double final_factor = 0;
  double peak_at = 0.25;
  bool operator==(const Schedule&) const = default;
};

// Applied to training images only, except `normalise`, which applies to all.
struct Augmentation {
  bool flip = false;      // left-right, probability 1/2
  int shift = 0;          // up to this many pixels each way, zeros (after normalising) move in
  int cutout = 0;         // side of a square set to zero (after normalising); 0 is none
  bool normalise = true;  // (x - mean) / std per channel, over the training split; else x / 255
  bool operator==(const Augmentation&) const = default;
};

// On a GPU: what its products are made of (kernels/precision.h); the CPU computes in fp32 anyway.
// Fixed for the whole of a trial, and never tuned.
enum class Precision { kFp32, kTf32, kBf16 };
constexpr int kPrecisions = 3;

// "fp32", as a spec writes it; empty for a value from elsewhere that is none of them.
constexpr const char* PrecisionName(Precision precision) {
  constexpr const char* kNames[kPrecisions] = {"fp32", "tf32", "bf16"};
  const int index = static_cast<int>(precision);
  return index >= 0 && index < kPrecisions ? kNames[index] : "";
}

enum class Initialisation { kHe, kGlorot };  // normal with std sqrt(2/fan_in); uniform, Glorot 2010

struct Training {
  int epochs = 10;
  int batch_size = 128;
  Optimizer optimizer{};
  Schedule schedule{};
  Augmentation augmentation{};
  double label_smoothing = 0;
  Initialisation initialisation = Initialisation::kHe;
  Precision precision = Precision::kFp32;
  uint64_t seed = 1;
  bool operator==(const Training&) const = default;
};

// What is changed of a user's own program from outside. Zero and empty: as the program has it.
struct ProgramChanges {
  int epochs = 0;
  int batch_size = 0;
  std::string optimizer;  // by its name in the program's framework: "adam", "sgd"
  double learning_rate = 0;
  double width = 0;     // times as many filters and hidden units
  int added_convs = 0;  // convs put in before the head
  int added_dense = 0;  // units of a dense layer put in before the head
  double dropout = 0;   // rate before the head
  bool operator==(const ProgramChanges&) const = default;
};

// What a trial trains: an architecture and its hyperparameters, or a program and what is changed of
// it.
struct Configuration {
  Network network{};  // no layers: a program of the user's
  Training training{};
  ProgramChanges changes{};  // of a program

  bool IsProgram() const { return network.layers.empty(); }
  int epochs() const { return IsProgram() ? changes.epochs : training.epochs; }  // 0: as it has it
  bool operator==(const Configuration&) const = default;
};

}  // namespace trainyard::network
