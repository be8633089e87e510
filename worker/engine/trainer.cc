#include "worker/engine/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include "network/shapes.h"
#include "worker/engine/evaluation.h"
#include "worker/engine/evidence.h"
#include "worker/engine/initialise.h"
#include "worker/engine/planner.h"
#include "worker/engine/schedule.h"
#include "worker/engine/timeline.h"
#include "worker/engine/training_data.h"
#include "worker/engine/weights.h"

namespace trainyard::engine {
namespace {

using Clock = std::chrono::steady_clock;
using kernels::Error;
using Wish = TrainingObserver::Wish;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

bool AllFinite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

bool AllFinite(const kernels::ProgramState& state) {
  return AllFinite(state.parameters) && AllFinite(state.statistics) && AllFinite(state.moment1) &&
         AllFinite(state.moment2);
}

void Expect(bool same, const std::string& what, const std::string& found,
            const std::string& expected) {
  if (same) return;
  throw Error("checkpoint of another trial: " + what + ": found " + found + ", expected " +
              expected);
}

std::string Text(const network::Parameter& parameter) {
  std::string text = parameter.name + " (";
  for (size_t i = 0; i < parameter.dims.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(parameter.dims[i]);
  }
  return text + ")";
}

std::string Text(const std::vector<Checkpoint::Adjusted>& adjusted) {
  if (adjusted.empty()) return "none";
  std::string text;
  for (const auto& [step, digest] : adjusted) {
    text += (text.empty() ? "" : ", ") + std::string("at step ") + std::to_string(step) + " (" +
            std::to_string(digest) + ")";
  }
  return text;
}

int64_t StepsPerEpoch(const Split& split, int batch_size) {
  const auto count = static_cast<int64_t>(split.train.size());
  const int64_t batch = std::min<int64_t>(batch_size, count);
  return (count + batch - 1) / batch;
}

std::string Text(const std::vector<float>& values) {
  std::string text;
  for (float value : values) text += (text.empty() ? "" : ", ") + std::to_string(value);
  return text;
}

// What has been seen so far of the epoch in progress.
struct EpochSums {
  double loss = 0;
  int64_t correct = 0;
  int64_t images = 0;
  double gradient_norms = 0;
  // Once its last whole batch was trained on.
  double update_ratio = 0, dead_units = 0;
};

// What this process spent on the epoch in progress; of no influence on the result.
struct EpochTiming {
  Clock::duration spent{};
  int64_t images = 0;
};

}  // namespace

class Trainer::Impl {
 public:
  Impl(const network::Configuration& configuration, const TrainingData& data,
       const TrainerOptions& options, LoweredNetwork lowered)
      : configuration_(Checked(configuration)),
        options_(options),
        data_(data),
        split_(ChooseImages(data, configuration_.network)),
        orders_(split_.train, configuration_.training.seed),
        steps_per_epoch_(StepsPerEpoch(split_, training().batch_size)),
        timeline_(configuration_, steps_per_epoch_, options.adjustments) {
    const auto count = static_cast<int64_t>(split_.train.size());
    const int64_t batch = std::min<int64_t>(training().batch_size, count);
    if (lowered.program == nullptr || lowered.plan.graph.batch_size != batch) {
      lowered.program.reset();
      lowered = LowerNetwork(configuration_, count, options.backend, std::move(lowered.backend));
    }
    plan_ = std::move(lowered.plan);
    backend_ = std::move(lowered.backend);
    program_ = std::move(lowered.program);
    if (training().augmentation.normalise) {
      normalisation_ = MeasureNormalisation(data_.train->images(), split_.train);
    } else {
      const auto channels = static_cast<size_t>(configuration_.network.input.channels);
      normalisation_ = {std::vector<float>(channels, 0), std::vector<float>(channels, 1)};
    }
    program_->SetNormalisation(normalisation_.mean, normalisation_.inverse_std);
  }

  bool Restore(const Checkpoint& checkpoint);
  void StartFrom(std::string_view weights) { WriteState(ParseWeights(weights, plan_.parameters)); }
  void StartFromState(const kernels::ProgramState& state);
  AdjustmentAnswer Offer(int number, const Adjustment& adjustment);
  Outcome Run(TrainingObserver& observer);
  Evaluation Evaluate(const Dataset& dataset, std::span<const int32_t> indices);
  std::vector<float> Logits(const Dataset& dataset);

  Evaluation Evaluate(const Dataset& dataset) {
    CheckDataset(dataset, configuration_.network, "data to evaluate");
    return Evaluate(dataset, AllOf(dataset));
  }
  Evaluation EvaluateValidation() {
    return Evaluate(validation(), std::span<const int32_t>(split_.validation));
  }

  int64_t step() const { return step_; }
  int epoch() const { return epoch_; }
  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  std::string fingerprint() const { return program_->Fingerprint(); }
  std::vector<int64_t> adjusted_at() const { return timeline_.steps(); }
  bool ended() const { return end_.has_value(); }

 private:
  static network::Configuration Checked(const network::Configuration& configuration) {
    CheckConfiguration(configuration, "");
    return configuration;
  }
  static std::vector<int32_t> AllOf(const Dataset& dataset) {
    std::vector<int32_t> all(static_cast<size_t>(dataset.count()));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }

  // What never changes of it; the rest: Timeline.
  const network::Training& training() const { return configuration_.training; }
  const Dataset& validation() const {
    return data_.validation != nullptr ? *data_.validation : *data_.train;
  }
  int64_t epoch_begin() const { return epoch_ * steps_per_epoch_; }
  double RateAt(int64_t step) const {
    const network::Training& training = timeline_.At(step).training;
    return LearningRate(training.schedule, training.optimizer.learning_rate, step, steps_per_epoch_,
                        training.epochs);
  }

  void WriteState(const kernels::ProgramState& state) {
    program_->WriteState(state);
    has_state_ = true;
  }
  // Fresh weights, unless there are others: drawing them takes a while.
  void NeedState() {
    if (has_state_) return;
    WriteState(InitialState(plan_.parameters, training().initialisation, training().optimizer.kind,
                            training().seed, options_.backend.threads));
  }

  // Decides whether Run ends here, between two epochs.
  void DecideEnd();

  // Each returns an outcome if Run is to end with it.
  std::optional<Outcome> TrainEpoch(TrainingObserver& observer);
  std::optional<Outcome> AfterStride(TrainingObserver& observer);
  std::optional<Outcome> FinishEpoch(TrainingObserver& observer);
  std::optional<Outcome> HandOver(TrainingObserver& observer);

  // Steps in a row, from step_ on. Which there are depends on time; what they give does not.
  int64_t StrideLength(int64_t whole_batches) const;
  std::vector<kernels::StepResult> TrainStride(std::span<const int32_t> batches, int64_t steps,
                                               bool measured);
  // False where it is no number: then this was the last one.
  bool Count(const kernels::StepResult& result, size_t images);
  kernels::StepScalars Scalars(int64_t step) const;
  bool CheckpointIsDue() const;
  std::optional<Checkpoint> Snapshot(bool end_of_epoch) const;
  EpochMetrics Metrics() const;
  Outcome Diverged(TrainingObserver& observer, EpochMetrics metrics) const;
  void CheckSameTrial(const Checkpoint& checkpoint) const;

  // Constant after construction.
  const network::Configuration configuration_;
  const TrainerOptions options_;
  const TrainingData data_;
  const Split split_;
  EpochOrders orders_;
  const int64_t steps_per_epoch_;
  Plan plan_;
  Normalisation normalisation_;
  std::unique_ptr<kernels::Backend> backend_;

  // The state, together with what the program holds.
  std::unique_ptr<kernels::Program> program_;
  bool has_state_ = false;
  Timeline timeline_;
  std::optional<Outcome> end_;
  int64_t step_ = 0;
  int epoch_ = 0;
  bool exact_ = true;
  EpochSums sums_;

  EpochTiming timing_;
  Clock::time_point last_checkpoint_ = Clock::now();
};

bool Trainer::Impl::Restore(const Checkpoint& checkpoint) {
  CheckSameTrial(checkpoint);
  WriteState(checkpoint.state);
  step_ = checkpoint.step;
  epoch_ = checkpoint.epoch;
  sums_ = {checkpoint.epoch_loss_sum,       checkpoint.epoch_correct, checkpoint.epoch_images,
           checkpoint.epoch_gradient_norms, checkpoint.update_ratio,  checkpoint.dead_units};
  timing_ = {};
  const bool same = checkpoint.fingerprint == fingerprint();
  exact_ = checkpoint.exact && same;
  return same;
}

void Trainer::Impl::CheckSameTrial(const Checkpoint& checkpoint) const {
  Expect(checkpoint.spec_hash == options_.spec_hash, "spec hash", checkpoint.spec_hash,
         options_.spec_hash);
  Expect(checkpoint.seed == training().seed, "seed", std::to_string(checkpoint.seed),
         std::to_string(training().seed));
  Expect(checkpoint.parameters.size() == plan_.parameters.size(), "number of tensors",
         std::to_string(checkpoint.parameters.size()), std::to_string(plan_.parameters.size()));
  for (size_t i = 0; i < plan_.parameters.size(); ++i) {
    const network::Parameter& found = checkpoint.parameters[i];
    const network::Parameter& expected = plan_.parameters[i];
    Expect(found.name == expected.name && found.dims == expected.dims, "tensor", Text(found),
           Text(expected));
  }
  const kernels::ProgramState& state = checkpoint.state;
  const size_t moment2_expected =
      training().optimizer.kind == network::OptimizerKind::kAdamW ? state.parameters.size() : 0;
  Expect(state.moment1.size() == state.parameters.size(), "first moments",
         std::to_string(state.moment1.size()), std::to_string(state.parameters.size()));
  Expect(state.moment2.size() == moment2_expected, "second moments",
         std::to_string(state.moment2.size()), std::to_string(moment2_expected));
  Expect(checkpoint.normalise_mean == normalisation_.mean &&
             checkpoint.normalise_inverse_std == normalisation_.inverse_std,
         "normalisation (of other data)",
         Text(checkpoint.normalise_mean) + " and " + Text(checkpoint.normalise_inverse_std),
         Text(normalisation_.mean) + " and " + Text(normalisation_.inverse_std));
  const int64_t begin = checkpoint.epoch * steps_per_epoch_;
  const int64_t end = checkpoint.end_of_epoch ? begin : begin + steps_per_epoch_;
  const std::vector<Checkpoint::Adjusted> applied = timeline_.AppliedIn(checkpoint.step);
  Expect(checkpoint.adjusted == applied, "adjustments", Text(checkpoint.adjusted), Text(applied));
  // With what its last step was made with: from here on there may be fewer.
  const int epochs = timeline_.At(std::max<int64_t>(checkpoint.step - 1, 0)).training.epochs;
  Expect(checkpoint.epoch <= epochs, "epoch", std::to_string(checkpoint.epoch),
         "at most " + std::to_string(epochs));
  Expect(checkpoint.step >= begin && checkpoint.step <= end, "step",
         std::to_string(checkpoint.step),
         std::to_string(begin) + " to " + std::to_string(end) + " in epoch " +
             std::to_string(checkpoint.epoch) + " of " + std::to_string(steps_per_epoch_) +
             " steps each");
}

Outcome Trainer::Impl::Run(TrainingObserver& observer) {
  NeedState();
  last_checkpoint_ = Clock::now();
  for (DecideEnd(); !end_; DecideEnd()) {
    observer.OnPhase(Phase::kTraining);
    if (const auto outcome = TrainEpoch(observer)) return *outcome;
    observer.OnPhase(Phase::kEvaluating);
    if (const auto outcome = FinishEpoch(observer)) return *outcome;
  }
  return *end_;
}

void Trainer::Impl::DecideEnd() {
  if (epoch_ >= timeline_.At(step_).training.epochs) {
    end_ = Outcome::kCompleted;
  } else if (timeline_.StopsBefore(step_)) {
    end_ = Outcome::kStoppedEarly;
  } else if (options_.until_epoch > 0 && epoch_ >= options_.until_epoch) {
    end_ = Outcome::kHalted;
  }
}

AdjustmentAnswer Trainer::Impl::Offer(int number, const Adjustment& adjustment) {
  // Nothing can begin any more; what is held is answered all the same.
  const int64_t steps_done = end_ ? std::numeric_limits<int64_t>::max() : step_;
  AdjustmentAnswer answer = timeline_.Offer(number, adjustment, steps_done);
  if (!answer.taken && end_) answer.step = step_;
  return answer;
}

void Trainer::Impl::StartFromState(const kernels::ProgramState& state) {
  const auto expect = [](const char* what, size_t found, int64_t expected, bool may_be_empty) {
    if (found == static_cast<size_t>(expected) || (may_be_empty && found == 0)) return;
    throw Error(std::string("state to start from: ") + what + ": found " + std::to_string(found) +
                " values, expected " + std::to_string(expected) + " by the network");
  };
  const int64_t parameters = plan_.graph.parameter_count;
  expect("parameters", state.parameters.size(), parameters, false);
  expect("running statistics", state.statistics.size(), plan_.graph.statistic_count, false);
  expect("first moments", state.moment1.size(), parameters, true);
  expect("second moments", state.moment2.size(), parameters, true);
  if (!AllFinite(state)) throw Error("state to start from: found values that are no numbers");
  WriteState(state);
}

std::optional<Outcome> Trainer::Impl::TrainEpoch(TrainingObserver& observer) {
  const std::vector<int32_t> order = orders_.Take(epoch_);
  const auto batch = static_cast<int64_t>(plan_.graph.batch_size);
  const int64_t whole_batches = static_cast<int64_t>(order.size()) / batch;
  const auto rest = [&] {
    return std::span(order).subspan(static_cast<size_t>((step_ - epoch_begin()) * batch));
  };
  if (step_ < epoch_begin() + steps_per_epoch_) {
    program_->Expect(data_.train->images(), rest());
  }
  while (step_ < epoch_begin() + steps_per_epoch_) {
    if (timeline_.StopsBefore(step_)) return end_ = Outcome::kStoppedEarly;
    const int64_t steps = StrideLength(whole_batches);
    const auto batches = rest().first(std::min(static_cast<size_t>(steps * batch), rest().size()));
    const bool measured = step_ - epoch_begin() == whole_batches - 1;
    const Clock::time_point start = Clock::now();
    const auto results = TrainStride(batches, steps, measured);
    timing_.spent += Clock::now() - start;
    bool finite = true;
    for (size_t i = 0; i < results.size() && finite; ++i) {
      finite = Count(results[i], batches.size() / results.size());
    }
    observer.OnStep(step_);
    if (!finite) return Diverged(observer, Metrics());
    if (const auto outcome = AfterStride(observer)) return outcome;
  }
  return std::nullopt;
}

// Ends where somebody looks at the state between two steps, or must not find steps done: at a
// checkpoint, at the trial's end, before the last whole batch, which is measured by itself.
int64_t Trainer::Impl::StrideLength(int64_t whole_batches) const {
  const int64_t unmeasured = whole_batches - 1 - (step_ - epoch_begin());
  int64_t steps = std::min<int64_t>(program_->StepsAtOnce(), unmeasured);
  if (options_.checkpoint_every_steps > 0) {
    const int64_t every = options_.checkpoint_every_steps;
    steps = std::min(steps, every - step_ % every);
  }
  for (int64_t i = 1; i < steps; ++i) {
    if (timeline_.StopsBefore(step_ + i)) return i;
  }
  return std::max<int64_t>(steps, 1);
}

std::vector<kernels::StepResult> Trainer::Impl::TrainStride(std::span<const int32_t> batches,
                                                            int64_t steps, bool measured) {
  const kernels::ImageSet images = data_.train->images();
  std::vector<kernels::StepScalars> scalars;
  for (int64_t i = 0; i < steps; ++i) scalars.push_back(Scalars(step_ + i));
  std::vector<kernels::StepResult> results(scalars.size());
  if (!measured) {
    program_->TrainSteps(images, batches, scalars, results);
    return results;
  }
  kernels::ProgramState before, after;
  program_->ReadState(before);
  program_->TrainSteps(images, batches, scalars, results);
  program_->ReadState(after);
  sums_.update_ratio = UpdateRatio(before.parameters, after.parameters);
  std::vector<float>& gradients = before.parameters;
  program_->ReadGradients(gradients);
  sums_.dead_units = DeadUnits(plan_.parameters, gradients);
  return results;
}

bool Trainer::Impl::Count(const kernels::StepResult& result, size_t images) {
  ++step_;
  sums_.loss += result.loss * static_cast<double>(images);
  sums_.correct += result.correct;
  sums_.images += static_cast<int64_t>(images);
  sums_.gradient_norms += result.gradient_norm;
  timing_.images += static_cast<int64_t>(images);
  return std::isfinite(result.loss) && std::isfinite(result.gradient_norm);
}

kernels::StepScalars Trainer::Impl::Scalars(int64_t step) const {
  const Timeline::Settings& settings = timeline_.At(step);
  const network::Optimizer& optimizer = settings.training.optimizer;
  const network::Augmentation& augmentation = settings.training.augmentation;
  kernels::StepScalars scalars;
  scalars.seed = training().seed;
  scalars.step = step;
  scalars.optimizer = optimizer.kind == network::OptimizerKind::kSgd
                          ? kernels::OptimizerKind::kSgd
                          : kernels::OptimizerKind::kAdamW;
  scalars.learning_rate = static_cast<float>(RateAt(step));
  scalars.momentum = static_cast<float>(optimizer.momentum);
  scalars.nesterov = optimizer.nesterov;
  scalars.beta1 = static_cast<float>(optimizer.beta1);
  scalars.beta2 = static_cast<float>(optimizer.beta2);
  scalars.epsilon = static_cast<float>(optimizer.epsilon);
  scalars.weight_decay = static_cast<float>(optimizer.weight_decay);
  scalars.clip_norm = static_cast<float>(optimizer.clip_norm);
  scalars.label_smoothing = static_cast<float>(settings.training.label_smoothing);
  scalars.flip = augmentation.flip;
  scalars.shift = augmentation.shift;
  scalars.cutout = augmentation.cutout;
  scalars.dropout_rates = settings.dropout_rates;
  return scalars;
}

bool Trainer::Impl::CheckpointIsDue() const {
  // The epoch's own checkpoint follows its last step anyway.
  if (step_ == epoch_begin() + steps_per_epoch_) return false;
  if (options_.checkpoint_every_steps > 0 && step_ % options_.checkpoint_every_steps == 0) {
    return true;
  }
  return options_.checkpoint_every_ms > 0 &&
         Clock::now() - last_checkpoint_ >= std::chrono::milliseconds(options_.checkpoint_every_ms);
}

std::optional<Outcome> Trainer::Impl::AfterStride(TrainingObserver& observer) {
  const Wish wish = observer.AtStepBoundary();
  if (wish == Wish::kAbandon) return Outcome::kAbandoned;
  if (wish == Wish::kContinue && !CheckpointIsDue()) return std::nullopt;
  if (const auto outcome = HandOver(observer)) return outcome;
  if (wish == Wish::kStop) return Outcome::kStopped;
  return std::nullopt;
}

std::optional<Outcome> Trainer::Impl::FinishEpoch(TrainingObserver& observer) {
  // A long evaluation can be interrupted as well; the epoch then stands at its last step.
  Wish wish = Wish::kContinue;
  const Scores scores =
      Score(*program_, validation().images(), split_.validation, plan_.graph.batch_size, {}, [&] {
        wish = observer.AtStepBoundary();
        return wish == Wish::kContinue;
      });
  if (wish == Wish::kAbandon) return Outcome::kAbandoned;
  if (wish == Wish::kStop) {
    const auto outcome = HandOver(observer);
    return outcome ? outcome : Outcome::kStopped;
  }
  EpochMetrics metrics = Metrics();
  const auto count = static_cast<double>(split_.validation.size());
  if (count > 0) {
    metrics.val_loss = scores.loss_sum / count;
    metrics.val_accuracy = static_cast<double>(scores.correct) / count;
  }
  if (!std::isfinite(metrics.val_loss)) return Diverged(observer, metrics);
  ++epoch_;
  sums_ = {};
  timing_ = {};
  std::optional<Checkpoint> checkpoint = Snapshot(true);
  if (!checkpoint) return Diverged(observer, metrics);
  DecideEnd();
  observer.OnEpoch(metrics);
  last_checkpoint_ = Clock::now();
  observer.OnCheckpoint(*std::move(checkpoint));
  return std::nullopt;
}

EpochMetrics Trainer::Impl::Metrics() const {
  EpochMetrics metrics;
  metrics.epoch = epoch_ + 1;
  metrics.step = step_;
  const auto images = static_cast<double>(sums_.images);
  metrics.train_loss = sums_.loss / images;
  metrics.train_accuracy = static_cast<double>(sums_.correct) / images;
  metrics.learning_rate = RateAt(step_ - 1);
  metrics.gradient_norm = sums_.gradient_norms / static_cast<double>(step_ - epoch_begin());
  metrics.update_ratio = sums_.update_ratio;
  metrics.dead_units = sums_.dead_units;
  metrics.seconds = Seconds(timing_.spent);
  if (metrics.seconds > 0) {
    metrics.images_per_second = static_cast<double>(timing_.images) / metrics.seconds;
  }
  return metrics;
}

Outcome Trainer::Impl::Diverged(TrainingObserver& observer, EpochMetrics metrics) const {
  // Whatever was measured, weights that are no numbers have no loss.
  metrics.val_loss = kNan;
  observer.OnEpoch(metrics);
  return Outcome::kDiverged;
}

std::optional<Outcome> Trainer::Impl::HandOver(TrainingObserver& observer) {
  std::optional<Checkpoint> checkpoint = Snapshot(false);
  if (!checkpoint) return Diverged(observer, Metrics());
  last_checkpoint_ = Clock::now();
  observer.OnCheckpoint(*std::move(checkpoint));
  return std::nullopt;
}

// Nothing where weights have left the range of floats, though the last step's loss was finite: a
// state that cannot be trained on is never worth continuing from.
std::optional<Checkpoint> Trainer::Impl::Snapshot(bool end_of_epoch) const {
  Checkpoint checkpoint;
  program_->ReadState(checkpoint.state);
  if (training().optimizer.kind == network::OptimizerKind::kSgd) checkpoint.state.moment2.clear();
  if (!AllFinite(checkpoint.state)) return std::nullopt;
  checkpoint.spec_hash = options_.spec_hash;
  checkpoint.step = step_;
  checkpoint.epoch = epoch_;
  checkpoint.end_of_epoch = end_of_epoch;
  checkpoint.seed = training().seed;
  checkpoint.fingerprint = fingerprint();
  checkpoint.exact = exact_;
  checkpoint.epoch_loss_sum = sums_.loss;
  checkpoint.epoch_correct = sums_.correct;
  checkpoint.epoch_images = sums_.images;
  checkpoint.epoch_gradient_norms = sums_.gradient_norms;
  checkpoint.update_ratio = sums_.update_ratio;
  checkpoint.dead_units = sums_.dead_units;
  checkpoint.adjusted = timeline_.AppliedIn(step_);
  checkpoint.normalise_mean = normalisation_.mean;
  checkpoint.normalise_inverse_std = normalisation_.inverse_std;
  checkpoint.parameters = plan_.parameters;
  return checkpoint;
}

Evaluation Trainer::Impl::Evaluate(const Dataset& dataset, std::span<const int32_t> indices) {
  NeedState();
  const int classes = configuration_.network.classes;
  std::vector<float> logits(indices.size() * static_cast<size_t>(classes));
  const kernels::ImageSet images = dataset.images();
  const Scores scores = Score(*program_, images, indices, plan_.graph.batch_size, logits, {});
  Evaluation evaluation;
  evaluation.count = static_cast<int64_t>(indices.size());
  if (evaluation.count > 0) {
    evaluation.loss = scores.loss_sum / static_cast<double>(evaluation.count);
    evaluation.accuracy =
        static_cast<double>(scores.correct) / static_cast<double>(evaluation.count);
  }
  evaluation.confusion = Confusion(logits, images.labels, indices, classes);
  return evaluation;
}

std::vector<float> Trainer::Impl::Logits(const Dataset& dataset) {
  NeedState();
  CheckDataset(dataset, configuration_.network, "data to evaluate");
  const std::vector<int32_t> all = AllOf(dataset);
  std::vector<float> logits(all.size() * static_cast<size_t>(configuration_.network.classes));
  Score(*program_, dataset.images(), all, plan_.graph.batch_size, logits, {});
  return logits;
}

Trainer::Trainer(const network::Configuration& configuration, const TrainingData& data,
                 const TrainerOptions& options, LoweredNetwork lowered)
    : impl_(std::make_unique<Impl>(configuration, data, options, std::move(lowered))) {}
Trainer::~Trainer() = default;

bool Trainer::Restore(const Checkpoint& checkpoint) { return impl_->Restore(checkpoint); }
void Trainer::StartFrom(std::string_view weights) { impl_->StartFrom(weights); }
void Trainer::StartFromState(const kernels::ProgramState& state) { impl_->StartFromState(state); }
AdjustmentAnswer Trainer::Offer(int number, const Adjustment& adjustment) {
  return impl_->Offer(number, adjustment);
}
std::vector<int64_t> Trainer::adjusted_at() const { return impl_->adjusted_at(); }
bool Trainer::ended() const { return impl_->ended(); }
Outcome Trainer::Run(TrainingObserver& observer) { return impl_->Run(observer); }
Evaluation Trainer::Evaluate(const Dataset& dataset) { return impl_->Evaluate(dataset); }
Evaluation Trainer::EvaluateValidation() { return impl_->EvaluateValidation(); }
std::vector<float> Trainer::Logits(const Dataset& dataset) { return impl_->Logits(dataset); }
int64_t Trainer::steps_done() const { return impl_->step(); }
int Trainer::epochs_done() const { return impl_->epoch(); }
int64_t Trainer::steps_per_epoch() const { return impl_->steps_per_epoch(); }
std::string Trainer::fingerprint() const { return impl_->fingerprint(); }

}  // namespace trainyard::engine
