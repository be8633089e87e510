#include "worker/agent/native_runner.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <filesystem>
#include <future>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/spec_convert.h"
#include "spdlog/spdlog.h"
#include "worker/agent/checkpoint_publisher.h"
#include "worker/agent/data_loader.h"
#include "worker/agent/digest.h"
#include "worker/agent/ending.h"
#include "worker/agent/finish.h"
#include "worker/agent/report_buffer.h"
#include "worker/agent/retry.h"
#include "worker/engine/local_disk.h"
#include "worker/engine/mapped_file.h"
#include "worker/engine/morph/morph.h"
#include "worker/engine/order.h"
#include "worker/engine/trainer.h"

namespace trainyard::agent {
namespace {

using v1::AttemptEnded;

// Thrown inside this file alone, from whatever depth finds that the attempt cannot go on.
struct Ended {
  Ending ending;
};

[[noreturn]] void End(AttemptEnded::Outcome outcome, std::string message) {
  throw Ended{{outcome, std::move(message)}};
}

// Ends the attempt unless the status is fine.
void Require(const absl::Status& status, AttemptControl& control, int64_t step) {
  if (status.ok()) return;
  throw Ended{EndingOf(status, control, step)};
}

engine::Adjustment ToAdjustment(const v1::Adjustment& message) {
  return {.step = message.step(),
          .at_epoch = message.at_epoch(),
          .stop = message.stop(),
          .configuration = FromProto(message.configuration())};
}

// What the job is to be computed with here: it may keep off the worker's GPU, or need one.
kernels::BackendOptions BackendFor(const v1::Start& start, const NativeOptions& options) {
  kernels::BackendOptions backend = options.backend;
  const v1::Resources::Gpu wish = start.spec().resources().gpu();
  if (wish == v1::Resources::REQUIRED && backend.name != "cuda") {
    throw Ended{WithoutGpu(options.why_no_gpu)};
  }
  if (wish == v1::Resources::NONE && backend.name == "cuda") backend.name = "cpu";
  return backend;
}

[[noreturn]] void EndWith(const kernels::Error& error, AttemptEnded::Outcome otherwise,
                          const std::string& where, AttemptControl& control) {
  if (dynamic_cast<const kernels::DeviceLost*>(&error) != nullptr) control.set_device_lost();
  End(OutcomeOf(error, otherwise), absl::StrCat(where, error.what()));
}

class Observer : public engine::TrainingObserver {
 public:
  Observer(const v1::Start& start, bool exact, engine::Trainer& trainer,
           CheckpointPublisher& publisher, Uplink& uplink, AttemptControl& control)
      : start_(start),
        exact_(exact),
        trainer_(trainer),
        publisher_(publisher),
        uplink_(uplink),
        control_(control) {}

  // Hands what has come to the trainer and reports what it says: before any report of a step that
  // was made with it, since this is the thread that trains.
  void OfferAdjustments() {
    for (const v1::Adjustment& adjustment : control_.TakeAdjustments()) {
      try {
        const engine::AdjustmentAnswer answer =
            trainer_.Offer(adjustment.number(), ToAdjustment(adjustment));
        spdlog::info("{}: adjustment {} {} at step {}", Describe(start_.attempt()),
                     adjustment.number(), answer.taken ? "takes effect" : "comes too late",
                     answer.step);
        uplink_.Report(
            AdjustReportOf(start_.attempt(), adjustment.number(), answer.taken, answer.step),
            control_);
      } catch (const kernels::Error& error) {
        // No later step would mend it; training goes on without it.
        if (std::exchange(refused_, adjustment.number()) == adjustment.number()) continue;
        spdlog::error("{}: not adjusted: {}", Describe(start_.attempt()), error.what());
      }
    }
  }

  void OnPhase(engine::Phase phase) override {
    control_.set_phase(phase == engine::Phase::kTraining     ? v1::PHASE_TRAINING
                       : phase == engine::Phase::kEvaluating ? v1::PHASE_EVALUATING
                                                             : v1::PHASE_LOADING);
  }

  void OnStep(int64_t steps_done) override { control_.set_step(steps_done); }

  void OnEpoch(const engine::EpochMetrics& metrics) override {
    v1::WorkerMessage message;
    *message.mutable_epoch()->mutable_attempt() = start_.attempt();
    v1::Epoch* epoch = message.mutable_epoch()->mutable_epoch();
    epoch->set_trial(start_.trial_number());
    epoch->set_attempt(start_.attempt_number());
    epoch->set_epoch(metrics.epoch);
    epoch->set_step(metrics.step);
    epoch->set_train_loss(metrics.train_loss);
    epoch->set_train_accuracy(metrics.train_accuracy);
    epoch->set_val_loss(metrics.val_loss);
    epoch->set_val_accuracy(metrics.val_accuracy);
    epoch->set_learning_rate(metrics.learning_rate);
    epoch->set_images_per_second(metrics.images_per_second);
    epoch->set_seconds(metrics.seconds);
    epoch->set_exact(exact_);
    epoch->set_gradient_norm(metrics.gradient_norm);
    epoch->set_update_ratio(metrics.update_ratio);
    epoch->set_dead_units(metrics.dead_units);
    spdlog::info("{}: epoch {}: loss {:.4f}, val_loss {:.4f}, val_accuracy {:.4f}, {:.0f} images/s",
                 Describe(start_.attempt()), metrics.epoch, metrics.train_loss, metrics.val_loss,
                 metrics.val_accuracy, metrics.images_per_second);
    publisher_.OnEpoch(metrics.epoch, metrics.val_accuracy, metrics.val_loss);
    uplink_.Report(std::move(message), control_);
  }

  void OnCheckpoint(engine::Checkpoint checkpoint) override {
    publisher_.Add(std::move(checkpoint), trainer_.ended() || stopping_);
  }

  Wish AtStepBoundary() override {
    OfferAdjustments();
    switch (control_.wish()) {
      case agent::Wish::kContinue:
        return Wish::kContinue;
      case agent::Wish::kStop: {
        stopping_ = true;
        const std::optional<StopRequest> stop = control_.stop();
        return stop && stop->checkpoint ? Wish::kStop : Wish::kAbandon;
      }
      default:
        return Wish::kAbandon;
    }
  }

 private:
  const v1::Start& start_;
  const bool exact_;
  engine::Trainer& trainer_;
  CheckpointPublisher& publisher_;
  Uplink& uplink_;
  AttemptControl& control_;
  bool stopping_ = false;
  int refused_ = 0;  // number of the last adjustment that cannot be
};

// One attempt, from its assignment to its ending.
class NativeAttempt {
 public:
  NativeAttempt(const v1::Start& start, const NativeOptions& options, BlobClient& blobs,
                BlobCache& cache, const engine::DatasetCache& decoded, Uplink& uplink,
                AttemptControl& control)
      : start_(start),
        options_(options),
        blobs_(blobs),
        cache_(cache),
        decoded_(decoded),
        uplink_(uplink),
        control_(control),
        folder_(AttemptFolder(options.work_folder, start.attempt())) {}

  Ending Run();
  int64_t step() const { return trainer_ ? trainer_->steps_done() : checkpoint_step_; }
  std::vector<int64_t> TakeConfusion() { return std::move(confusion_); }
  const std::string& folder() const { return folder_; }

 private:
  // Later trials are changed in ways that the weights need not fit.
  bool StartsFromWeights() const {
    return start_.spec().has_weights() && start_.trial_number() == 1 && !checkpoint_ && !parent_;
  }
  engine::Checkpoint Fetch(const std::string& sha256);
  void BeginLowering();
  void FetchCheckpoint();
  void LoadData();
  void Plan();
  void Inherit();
  Ending Train();

  const v1::Start& start_;
  const NativeOptions& options_;
  BlobClient& blobs_;
  BlobCache& cache_;
  const engine::DatasetCache& decoded_;
  Uplink& uplink_;
  AttemptControl& control_;
  const std::string folder_;

  kernels::BackendOptions backend_;
  std::optional<engine::Checkpoint> checkpoint_;
  std::optional<engine::Checkpoint> parent_;  // whose weights are taken over
  int64_t checkpoint_step_ = 0;
  bool exact_ = true;
  LoadedData data_;
  std::optional<engine::MappedFile> weights_;
  std::unique_ptr<engine::Trainer> trainer_;
  std::vector<int64_t> confusion_;
  // Made beside what is fetched and decoded. The last member: it ends before what it reads.
  std::future<engine::LoweredNetwork> lowered_;
};

Ending NativeAttempt::Run() {
  control_.set_phase(v1::PHASE_LOADING);
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) End(AttemptEnded::FAILED, absl::StrCat(folder_, ": ", error.message()));
  backend_ = BackendFor(start_, options_);
  BeginLowering();
  FetchCheckpoint();
  LoadData();
  Plan();
  if (!start_.finishing()) return Train();
  try {
    Require(Finish(start_, data_, *checkpoint_, *trainer_, blobs_, uplink_, control_), control_,
            step());
  } catch (const kernels::Error& error) {
    EndWith(error, AttemptEnded::FAILED, absl::StrCat("finishing, at step ", step(), ": "),
            control_);
  }
  return {AttemptEnded::COMPLETED, "tested and exported"};
}

void NativeAttempt::BeginLowering() {
  const v1::JobSpec& spec = start_.spec();
  const int64_t images = spec.data().train().count();
  const double aside = spec.data().has_validation() ? 0 : spec.validation().fraction();
  if (images <= 0 || !(aside >= 0 && aside < 1)) return;  // for the trainer to tell
  lowered_ = std::async([=, this] {
    const engine::Split split = engine::SplitOff(images, aside, start_.spec().validation().seed());
    return engine::LowerNetwork(FromProto(start_.configuration()),
                                static_cast<int64_t>(split.train.size()), backend_);
  });
}

void NativeAttempt::FetchCheckpoint() {
  if (start_.checkpoint_sha256().empty()) {
    if (start_.finishing()) {
      End(AttemptEnded::FAILED_FINALLY, "a finishing attempt came without a checkpoint to finish");
    }
    if (!start_.inherit_sha256().empty()) parent_ = Fetch(start_.inherit_sha256());
    return;
  }
  checkpoint_ = Fetch(start_.checkpoint_sha256());
  checkpoint_step_ = checkpoint_->step;
  control_.set_step(checkpoint_step_);
}

engine::Checkpoint NativeAttempt::Fetch(const std::string& sha256) {
  std::string bytes;
  const absl::Status status = Persist(control_, Wish::kStop, "fetching the checkpoint", [&] {
    absl::StatusOr<std::string> got = blobs_.FetchToMemory(sha256, control_, Wish::kStop);
    if (got.ok()) bytes = *std::move(got);
    return got.status();
  });
  const std::string name = absl::StrCat("checkpoint ", sha256, ": ");
  if (absl::IsDataLoss(status) || absl::IsNotFound(status)) {
    End(AttemptEnded::CHECKPOINT_BROKEN, absl::StrCat(name, status.message()));
  }
  Require(status, control_, 0);
  try {
    return engine::ParseCheckpoint(bytes);
  } catch (const kernels::Error& broken) {
    End(AttemptEnded::CHECKPOINT_BROKEN, absl::StrCat(name, broken.what()));
  }
}

void NativeAttempt::LoadData() {
  DataLoader loader(blobs_, cache_, options_.https, folder_ + "/source", control_);
  absl::StatusOr<LoadedData> data =
      loader.Load(start_.spec(), start_.snapshot_sha256(), start_.finishing(), decoded_);
  Require(data.status(), control_, step());
  data_ = *std::move(data);
  if (StartsFromWeights()) {
    const absl::StatusOr<std::string> path = loader.Locate(start_.spec().weights());
    Require({path.status().code(), absl::StrCat("weights: ", path.status().message())}, control_,
            step());
    std::optional<engine::MappedFile> file = engine::MappedFile::Open(*path);
    if (!file) {
      End(AttemptEnded::FAILED_FINALLY,
          absl::StrCat("weights: ", *path, ": no file that can be read"));
    }
    weights_.emplace(*std::move(file));
  }
  std::error_code ignored;  // decoded; what is left over goes with the attempt's folder
  std::filesystem::remove_all(folder_ + "/source", ignored);
}

void NativeAttempt::Plan() {
  if (control_.wish() >= Wish::kStop) {
    Require(absl::CancelledError(control_.reason()), control_, step());
  }
  engine::TrainingData training{&data_.train, data_.validation ? &*data_.validation : nullptr,
                                start_.spec().validation().fraction(),
                                start_.spec().validation().seed()};
  engine::TrainerOptions options{backend_, start_.spec().checkpoint().every_steps(),
                                 start_.spec().checkpoint().every_ms(), SpecHash(start_)};
  for (const v1::Adjustment& adjustment : start_.adjustments()) {
    options.adjustments.push_back(ToAdjustment(adjustment));
  }
  options.until_epoch = start_.until_epoch();
  try {
    engine::LoweredNetwork lowered;
    if (lowered_.valid()) lowered = lowered_.get();
    trainer_ = std::make_unique<engine::Trainer>(FromProto(start_.configuration()), training,
                                                 options, std::move(lowered));
    if (weights_) trainer_->StartFrom(weights_->bytes());
  } catch (const kernels::Error& error) {
    EndWith(error, AttemptEnded::FAILED_FINALLY, "", control_);
  }
  weights_.reset();
  if (parent_) Inherit();
  if (!checkpoint_) return;
  try {
    exact_ = trainer_->Restore(*checkpoint_) && checkpoint_->exact;
  } catch (const kernels::Error& error) {
    EndWith(error, AttemptEnded::CHECKPOINT_BROKEN,
            absl::StrCat("checkpoint ", start_.checkpoint_sha256(), ": "), control_);
  }
  if (!start_.finishing()) checkpoint_.reset();
}

void NativeAttempt::Inherit() {
  const std::string attempt = Describe(start_.attempt());
  try {
    const engine::Inheritance inherited =
        engine::Inherit(FromProto(start_.inherit_network()), *parent_,
                        FromProto(start_.configuration()), backend_.threads);
    trainer_->StartFromState(inherited.state);
    spdlog::info("{}: takes over the weights of checkpoint {}{}", attempt, start_.inherit_sha256(),
                 inherited.preserving ? ", and gives the same outputs" : "");
    for (const std::string& line : inherited.lines) spdlog::info("{}: {}", attempt, line);
  } catch (const kernels::Error& error) {
    spdlog::warn("{}: starts from fresh weights, for those of checkpoint {} are of no use: {}",
                 attempt, start_.inherit_sha256(), error.what());
  }
  parent_.reset();
}

// How an attempt ended that reached its end.
std::string Completion(engine::Outcome outcome, const engine::Trainer& trainer) {
  switch (outcome) {
    case engine::Outcome::kStoppedEarly:
      return absl::StrCat("stopped early at step ", trainer.steps_done());
    case engine::Outcome::kHalted:
      return absl::StrCat("halted after epoch ", trainer.epochs_done());
    default:
      return absl::StrCat("all ", trainer.epochs_done(), " epochs are done");
  }
}

Ending NativeAttempt::Train() {
  CheckpointPublisher publisher(start_.attempt(), start_.spec().target().metric(), folder_, blobs_,
                                uplink_, control_);
  Observer observer(start_, exact_, *trainer_, publisher, uplink_, control_);
  engine::Outcome outcome;
  try {
    observer.OfferAdjustments();  // those that came while it was loading
    outcome = trainer_->Run(observer);
  } catch (const kernels::Error& error) {
    publisher.Drain();
    EndWith(error, AttemptEnded::FAILED, absl::StrCat("at step ", step(), ": "), control_);
  }
  control_.set_phase(v1::PHASE_UPLOADING);
  if (outcome == engine::Outcome::kStopped || outcome == engine::Outcome::kAbandoned) {
    return Stopped(publisher, control_, step(), outcome == engine::Outcome::kStopped, folder_);
  }
  const CheckpointPublisher::Drained drained = publisher.Drain();
  if (outcome == engine::Outcome::kDiverged) {
    return {AttemptEnded::DIVERGED,
            absl::StrCat("loss or weights are not a number any more, in epoch ",
                         trainer_->epochs_done() + 1, " at step ", step())};
  }
  if (drained != CheckpointPublisher::Drained::kPublished) {  // stopped while it waited
    return {AttemptEnded::STOPPED,
            absl::StrCat("trained to the end, but its last checkpoint is not stored: ",
                         publisher.trouble())};
  }
  control_.set_phase(v1::PHASE_EVALUATING);
  try {
    confusion_ = trainer_->EvaluateValidation().confusion;
  } catch (const kernels::Error& error) {
    EndWith(error, AttemptEnded::FAILED, absl::StrCat("after step ", step(), ": "), control_);
  }
  return {AttemptEnded::COMPLETED, Completion(outcome, *trainer_), trainer_->adjusted_at()};
}

}  // namespace

int64_t DecodedBytesMax(const NativeOptions& options) {
  constexpr int64_t kOnLocalDisk = int64_t{20} << 30;
  if (options.decoded_bytes_max) return *options.decoded_bytes_max;
  if (engine::IsLocal(options.decoded_folder)) return kOnLocalDisk;
  spdlog::info(
      "{}: not on a local disk, so data sets are not kept decoded (--decoded-gib, "
      "--cache-dir)",
      options.decoded_folder);
  return 0;
}

std::string SpecHash(const v1::Start& start) {
  v1::JobSpec bound;
  *bound.mutable_data() = start.spec().data();
  *bound.mutable_validation() = start.spec().validation();
  *bound.mutable_configuration() = start.configuration();
  if (start.spec().has_weights()) *bound.mutable_weights() = start.spec().weights();
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    bound.SerializeToCodedStream(&coded);
  }
  return HashOf(bytes);
}

std::optional<v1::AttemptEnded> NativeRunner::Run(const v1::Start& start, Uplink& uplink,
                                                  AttemptControl& control) {
  auto attempt =
      std::make_unique<NativeAttempt>(start, options_, blobs_, cache_, decoded_, uplink, control);
  Ending ending;
  try {
    ending = attempt->Run();
  } catch (const Ended& ended) {
    ending = ended.ending;
  } catch (const std::bad_alloc&) {
    ending = {AttemptEnded::OUT_OF_MEMORY, absl::StrCat("out of memory at step ", attempt->step())};
  } catch (const std::exception& error) {
    ending = {AttemptEnded::FAILED, absl::StrCat("at step ", attempt->step(), ": ", error.what())};
  }
  std::optional<AttemptEnded> ended =
      Conclude(start, control, std::move(ending), attempt->step(), attempt->folder());
  if (ended) {
    for (const int64_t count : attempt->TakeConfusion()) ended->add_confusion(count);
  }
  // Giving back to a GPU that is lost may take for ever. The process ends soon, and all with it.
  if (control.device_lost()) static_cast<void>(attempt.release());
  return ended;
}

}  // namespace trainyard::agent
