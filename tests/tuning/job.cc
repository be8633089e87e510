#include "tests/tuning/job.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "coordinator/core/ranking.h"
#include "coordinator/core/tuning.h"
#include "network/adjust.h"
#include "worker/engine/morph/morph.h"

namespace trainyard::tuning {
namespace {

double CpuSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

core::Metrics MetricsOf(const engine::EpochMetrics& metrics) {
  return {.train_loss = metrics.train_loss,
          .train_accuracy = metrics.train_accuracy,
          .val_loss = metrics.val_loss,
          .val_accuracy = metrics.val_accuracy,
          .learning_rate = metrics.learning_rate,
          .gradient_norm = metrics.gradient_norm,
          .update_ratio = metrics.update_ratio,
          .dead_units = metrics.dead_units};
}

}  // namespace

// Takes down what the trainer says and does with it what the coordinator does.
class Job::Watcher : public engine::TrainingObserver {
 public:
  Watcher(Job& job, engine::Trainer& trainer) : job_(job), trainer_(trainer) {}

  void OnStep(int64_t) override { ++steps_; }

  void OnEpoch(const engine::EpochMetrics& metrics) override {
    CountEpochs();
    trial().history.epochs.push_back(MetricsOf(metrics));
    trial().cpu_seconds.push_back(job_.CpuSecondsSoFar());
  }

  void OnCheckpoint(engine::Checkpoint checkpoint) override {
    const core::Target& target = job_.options_.target;
    const double value = core::Value(target, trial().history.epochs.back());
    job_.played_.met = core::Meets(target, value);
    if (!job_.Over() && checkpoint.epoch < trial().history.current.training.epochs) Watch();
    if (!trial().best || core::Better(target, value, trial().best_value)) {
      trial().best = std::move(checkpoint);
      trial().best_value = value;
    }
  }

  Wish AtStepBoundary() override { return job_.Over() ? Wish::kAbandon : Wish::kContinue; }

  // What was trained beyond the last whole epoch counts as well.
  void CountEpochs() {
    job_.played_.epochs += static_cast<double>(steps_) / trainer_.steps_per_epoch();
    steps_ = 0;
  }

 private:
  PlayedTrial& trial() { return job_.played_.trials.back(); }

  void Watch() {
    if (!job_.options_.limits.in_flight) return;
    PlayedTrial& trial = this->trial();
    if (!trial.adjustments.empty() && trial.adjustments.back().stop) return;
    std::optional<core::Correction> correction = job_.policy_.Watch(job_.Task(), trial.history);
    if (!correction) return;
    const std::optional<core::Adjustment> placed = core::AdjustmentFor(
        *correction, trial.history.current, trainer_.steps_done(), trainer_.steps_per_epoch());
    if (!placed) return;
    const engine::Adjustment adjustment{placed->step, placed->at_epoch, placed->stop,
                                        placed->configuration};
    job_.Adjust(adjustment, std::move(*correction));
    trainer_.Offer(static_cast<int>(trial.adjustments.size()), adjustment);
  }

  Job& job_;
  engine::Trainer& trainer_;
  int64_t steps_ = 0;  // not yet in PlayedJob::epochs
};

Job::Job(JobOptions options, const engine::TrainingData& data)
    : options_(std::move(options)),
      data_(data),
      policy_(core::PolicyOf(options_.limits.algorithm)),
      cpu_begin_(CpuSeconds()) {}

double Job::CpuSecondsSoFar() const { return CpuSeconds() - cpu_begin_; }

core::TuningTask Job::Task() const {
  core::TuningTask task{.target = options_.target, .limits = options_.limits};
  for (const PlayedTrial& trial : played_.trials) {
    task.trials.push_back(trial.history);
    if (trial.history.result != core::TrialResult::kRunning) task.last = trial.history.number;
  }
  task.train_images = data_.train->count() - options_.target.images;
  return task;
}

void Job::Adjust(const engine::Adjustment& adjustment, core::Correction correction) {
  PlayedTrial& trial = played_.trials.back();
  trial.adjustments.push_back(adjustment);
  trial.history.current = adjustment.configuration;
  ++trial.history.adjustments;
  trial.corrections.push_back(std::move(correction));
}

bool Job::Rewind() {
  PlayedTrial& trial = played_.trials.back();
  if (!trial.best || !options_.limits.in_flight || Over()) return false;
  std::optional<core::Correction> correction = policy_.Rescue(Task(), trial.history);
  if (!correction || correction->stop) return false;
  if (network::BoundaryOf(trial.history.current, correction->configuration) ==
      network::Boundary::kTrial) {
    return false;
  }
  const int64_t step = trial.best->step;
  std::erase_if(trial.adjustments, [&](const auto& adjustment) { return adjustment.step > step; });
  ++trial.history.rewinds;
  trial.history.epochs.resize(static_cast<size_t>(trial.best->epoch));
  trial.cpu_seconds.resize(trial.history.epochs.size());
  Adjust({.step = step, .configuration = correction->configuration}, *std::move(correction));
  return true;
}

void Job::Attempt(const std::optional<kernels::ProgramState>& inherited) {
  PlayedTrial& trial = played_.trials.back();
  engine::Trainer trainer(
      trial.history.configuration, data_,
      {.backend = {.threads = options_.threads}, .adjustments = trial.adjustments});
  if (trial.history.rewinds > 0) {
    trainer.Restore(*trial.best);
  } else if (inherited) {
    trainer.StartFromState(*inherited);
  }
  Watcher watcher(*this, trainer);
  const engine::Outcome outcome = trainer.Run(watcher);
  watcher.CountEpochs();
  if (outcome == engine::Outcome::kDiverged) {
    if (!Rewind()) trial.history.result = core::TrialResult::kDiverged;
    return;
  }
  trial.history.result = core::TrialResult::kCompleted;
  trial.history.confusion = trainer.EvaluateValidation().confusion;
}

bool Job::TrainNext(const core::NextTrial& next) {
  std::optional<kernels::ProgramState> inherited;
  if (options_.limits.inherit && next.inherit && next.base > 0) {
    const PlayedTrial& base = played_.trials.at(static_cast<size_t>(next.base - 1));
    if (base.best) {
      inherited =
          engine::Inherit(base.history.configuration.network, *base.best, next.configuration).state;
    }
  }
  PlayedTrial& trial = played_.trials.emplace_back();
  trial.tweak = next.tweak;
  trial.history = {.number = static_cast<int>(played_.trials.size()),
                   .configuration = next.configuration,
                   .current = next.configuration,
                   .result = core::TrialResult::kRunning,
                   .inherited = inherited.has_value(),
                   .base = next.base,
                   .move = next.tweak.move,
                   .expected_gain = next.tweak.expected_gain};
  while (trial.history.result == core::TrialResult::kRunning) Attempt(inherited);
  played_.cpu_seconds = CpuSecondsSoFar();
  return !Over();
}

PlayedJob Job::Play() {
  core::NextTrial next{.configuration = options_.start};
  while (TrainNext(next)) {
    core::Advice advice = policy_.Propose(Task(), 1);
    played_.finding = advice.finding;
    if (advice.next.empty()) {
      played_.stop = advice.stop.empty() ? "the policy proposed nothing" : advice.stop;
      break;
    }
    next = std::move(advice.next.front());
  }
  if (!played_.met && played_.stop.empty()) played_.stop = "all epochs are spent";
  return std::move(played_);
}

PlayedJob Job::PlayFirst() {
  if (TrainNext({.configuration = options_.start})) {
    played_.finding = policy_.Diagnose(played_.trials.front().history, options_.target);
  }
  return std::move(played_);
}

}  // namespace trainyard::tuning
