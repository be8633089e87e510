// Trains one configuration on one data set, and continues bit for bit from any of its checkpoints.
//
//   Trainer trainer(configuration, data, options);
//   if (resuming) trainer.Restore(ReadCheckpoint(path));
//   Outcome outcome = trainer.Run(observer);
//
// Epochs and steps are numbered over the whole trial, whatever process runs them. Every random draw
// is a function of (seed, purpose, position), so a run that was killed and continued ends with the
// same bytes as one that was not, given the same fingerprint (thread count, library, instruction
// set). So does one that was adjusted in mid-run, given the list of adjustments.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/backend.h"
#include "network/training.h"
#include "worker/engine/adjustment.h"
#include "worker/engine/checkpoint.h"
#include "worker/engine/dataset.h"
#include "worker/engine/lowered_network.h"

namespace trainyard::engine {

struct EpochMetrics {
  int epoch = 0;     // from 1
  int64_t step = 0;  // optimizer steps done at its end
  double train_loss = 0,
         train_accuracy = 0;              // as seen while training, with augmentation and dropout
  double val_loss = 0, val_accuracy = 0;  // 0 without validation images
  double learning_rate = 0;               // of its last step
  double gradient_norm = 0;  // L2 of the whole gradient before clipping, mean over its steps
  // Of its last whole batch, which a smaller one behind it would only blur: L2 of the update over
  // L2 of the weights, and share of the hidden filters and units whose weights had no gradient.
  double update_ratio = 0, dead_units = 0;
  double images_per_second = 0, seconds = 0;  // training only; wall clock, not part of the result
};

struct Evaluation {
  double loss = 0, accuracy = 0;
  int64_t count = 0;
  std::vector<int64_t> confusion;  // row-major (truth, prediction)
};

enum class Phase { kLoading, kTraining, kEvaluating };

// Called on the training thread; must not block it. Checkpoints are handed over as an in-memory
// copy, taken at a step boundary; writing and uploading is the observer's work, on another thread.
class TrainingObserver {
 public:
  virtual ~TrainingObserver() = default;
  virtual void OnPhase(Phase) {}
  // After each stride of steps (kernels::Program::StepsAtOnce).
  virtual void OnStep(int64_t /*steps_done*/) {}
  virtual void OnEpoch(const EpochMetrics&) {}
  virtual void OnCheckpoint(Checkpoint) {}
  // Asked after each stride of steps and before each batch of an evaluation. kStop ends Run after
  // an OnCheckpoint, kAbandon at once. A trial stopped while evaluating evaluates again.
  enum class Wish { kContinue, kStop, kAbandon };
  virtual Wish AtStepBoundary() { return Wish::kContinue; }
};

struct TrainerOptions {
  kernels::BackendOptions backend;      // its precision is the configuration's
  int64_t checkpoint_every_steps = 0;   // besides each epoch's end; 0: not
  int64_t checkpoint_every_ms = 0;      // 0: not
  std::string spec_hash;                // recorded in checkpoints; Restore refuses another's
  std::vector<Adjustment> adjustments;  // all of the trial's so far, those before a checkpoint too
  int until_epoch = 0;                  // halt after this epoch; 0: after the last one
};

// The training set, and the validation set or the part of the training set that was set aside for
// it.
struct TrainingData {
  const Dataset* train = nullptr;
  const Dataset* validation = nullptr;  // null: split off train
  double validation_fraction = 0;
  uint64_t validation_seed = 1;
};

enum class Outcome {
  kCompleted,     // the last epoch is done
  kStoppedEarly,  // an adjustment said so
  kHalted,        // after TrainerOptions::until_epoch
  kStopped,       // the observer's wish, as is
  kAbandoned,
  kDiverged,
};

class Trainer {
 public:
  // Plans everything. Throws kernels::Error where network and data disagree, memory is short, or an
  // adjustment cannot be. `lowered`: this configuration's, or a backend alone, in place of what is
  // made from the options; a program for another batch than it turns out to be is made again.
  Trainer(const network::Configuration& configuration, const TrainingData& data,
          const TrainerOptions& options, LoweredNetwork lowered = {});
  ~Trainer();

  // Continues from a checkpoint of this trial. Throws kernels::Error, naming what differs, if it is
  // another's, or was made with other adjustments. Returns false when the fingerprint differs: the
  // run goes on but is not exact.
  bool Restore(const Checkpoint& checkpoint);

  // Starts from these weights, a safetensors file's bytes, in place of fresh ones. Throws
  // kernels::Error, naming the tensor that does not fit.
  void StartFrom(std::string_view weights);

  // Likewise from a state in canonical layout: a grown network's. Throws kernels::Error unless its
  // sizes are this network's; moments may be empty.
  void StartFromState(const kernels::ProgramState& state);

  // Trains from where it stands to the last epoch, or to where it is to end before that: an epoch
  // that is broken off by an adjustment is not reported. A loss that is not a number ends it as
  // kDiverged, after OnEpoch with that epoch's metrics so far and no further checkpoint.
  Outcome Run(TrainingObserver& observer);

  // Changes the trial from a later step on: before Run, or from its observer's AtStepBoundary.
  // `number` counts the trial's adjustments from 1. One that is held already is answered as it was
  // taken; one whose step is past, or that leaves a gap, is not taken. Throws kernels::Error,
  // naming what is wrong, for one that can never be.
  AdjustmentAnswer Offer(int number, const Adjustment& adjustment);
  // The steps of all adjustments that are held, in order.
  std::vector<int64_t> adjusted_at() const;

  // Run has come to its end by itself: no checkpoint follows the last one, nothing is taken.
  bool ended() const;

  // With the present weights. `confusion` included.
  Evaluation Evaluate(const Dataset& dataset);
  Evaluation EvaluateValidation();
  // count * classes floats.
  std::vector<float> Logits(const Dataset& dataset);

  int64_t steps_done() const;
  int epochs_done() const;
  int64_t steps_per_epoch() const;
  std::string fingerprint() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trainyard::engine
