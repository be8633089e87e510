// Between core and workers, and from a spec to a request.
#include <algorithm>
#include <cmath>

#include "coordinator/convert/api.h"
#include "coordinator/convert/tuning.h"
#include "coordinator/source/digest.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "proto/runtimes.h"
#include "proto/spec_convert.h"
#include "proto/utf8.h"

namespace trainyard::coordinator {
namespace {

core::Phase FromProto(v1::Phase phase) {
  switch (phase) {
    case v1::PHASE_TRAINING:
      return core::Phase::kTraining;
    case v1::PHASE_EVALUATING:
      return core::Phase::kEvaluating;
    case v1::PHASE_UPLOADING:
      return core::Phase::kUploading;
    default:
      return core::Phase::kLoading;
  }
}

// What a newer worker may say that this coordinator does not know is a failure that may be retried.
core::Outcome FromProto(v1::AttemptEnded::Outcome outcome) {
  switch (outcome) {
    case v1::AttemptEnded::COMPLETED:
      return core::Outcome::kCompleted;
    case v1::AttemptEnded::STOPPED:
      return core::Outcome::kStopped;
    case v1::AttemptEnded::DIVERGED:
      return core::Outcome::kDiverged;
    case v1::AttemptEnded::FAILED_FINALLY:
      return core::Outcome::kFailedFinally;
    case v1::AttemptEnded::CHECKPOINT_BROKEN:
      return core::Outcome::kCheckpointBroken;
    case v1::AttemptEnded::OUT_OF_MEMORY:
      return core::Outcome::kOutOfMemory;
    case v1::AttemptEnded::DEVICE_LOST:
      return core::Outcome::kDeviceLost;
    default:
      return core::Outcome::kFailed;
  }
}

// The same spec gives the same bytes, within one build and across them.
std::string Deterministic(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

// Of the trial that the weights come from, as it was when the checkpoint was made.
v1::Network InheritedNetwork(const core::State& state, const core::StartAttempt& effect) {
  const auto attempt = state.attempts.find(effect.claim.attempt);
  if (attempt == state.attempts.end()) return {};
  const auto from = state.checkpoints.find(attempt->second.from);
  if (from == state.checkpoints.end()) return {};
  const auto trial = state.trials.find(from->second.trial);
  if (trial == state.trials.end()) return {};
  return trainyard::ToProto(trial->second.configuration.network);
}

}  // namespace

v1::AttemptRef ToRef(const core::State& state, const core::Claim& claim) {
  v1::AttemptRef ref;
  ref.set_attempt(claim.attempt.value);
  ref.set_fencing(claim.fencing.value);
  if (const auto found = state.attempts.find(claim.attempt); found != state.attempts.end()) {
    ref.set_job(found->second.job.value);
    ref.set_trial(found->second.trial.value);
  }
  return ref;
}

v1::Start ToProto(const core::State& state, const core::StartAttempt& effect) {
  v1::Start message;
  *message.mutable_attempt() = ToRef(state, effect.claim);
  message.mutable_attempt()->set_job(effect.job.value);
  message.mutable_attempt()->set_trial(effect.trial.value);
  message.set_finishing(effect.finishing);
  if (effect.restore == core::Restore::kInherit) {
    message.set_inherit_sha256(effect.checkpoint_sha256);
    *message.mutable_inherit_network() = InheritedNetwork(state, effect);
  } else {
    message.set_checkpoint_sha256(effect.checkpoint_sha256);
  }
  if (const auto job = state.jobs.find(effect.job); job != state.jobs.end()) {
    message.mutable_spec()->ParseFromString(job->second.request.spec_blob);
    message.set_snapshot_sha256(job->second.request.snapshot_sha256);
  }
  if (const auto trial = state.trials.find(effect.trial); trial != state.trials.end()) {
    message.set_trial_number(trial->second.number);
    *message.mutable_configuration() = trainyard::ToProto(trial->second.configuration);
    message.set_until_epoch(trial->second.until_epoch);
    int number = 0;
    for (const core::Adjustment& adjustment : trial->second.adjustments) {
      *message.add_adjustments() = ToProto(adjustment, ++number);
    }
  }
  if (const auto attempt = state.attempts.find(effect.claim.attempt);
      attempt != state.attempts.end()) {
    message.set_attempt_number(attempt->second.number);
  }
  return message;
}

core::Claim FromProto(core::WorkerId worker, const v1::AttemptRef& ref) {
  return {worker, {ref.attempt()}, {ref.fencing()}};
}

core::LeaseRenewed FromProto(core::WorkerId worker, const v1::Renewal& message) {
  core::LeaseRenewed event{.claim = FromProto(worker, message.attempt()),
                           .step = message.step(),
                           .phase = FromProto(message.phase())};
  if (message.has_gpu_use()) {
    event.gpu_use = {message.gpu_use().memory_used_bytes(), message.gpu_use().busy_percent()};
  }
  return event;
}

core::EpochReported FromProto(core::WorkerId worker, int64_t sequence,
                              const v1::EpochReport& message) {
  const v1::Epoch& epoch = message.epoch();
  return {.claim = FromProto(worker, message.attempt()),
          .sequence = sequence,
          .epoch = epoch.epoch(),
          .step = epoch.step(),
          .metrics = {.train_loss = epoch.train_loss(),
                      .train_accuracy = epoch.train_accuracy(),
                      .val_loss = epoch.val_loss(),
                      .val_accuracy = epoch.val_accuracy(),
                      .learning_rate = epoch.learning_rate(),
                      .gradient_norm = epoch.gradient_norm(),
                      .update_ratio = epoch.update_ratio(),
                      .dead_units = epoch.dead_units()},
          .images_per_second = epoch.images_per_second(),
          .seconds = epoch.seconds(),
          .exact = epoch.exact()};
}

core::CheckpointStored FromProto(core::WorkerId worker, int64_t sequence,
                                 const v1::CheckpointReport& message) {
  return {.claim = FromProto(worker, message.attempt()),
          .sequence = sequence,
          .sha256 = message.sha256(),
          .bytes = message.bytes(),
          .step = message.step(),
          .epoch = message.epoch(),
          .end_of_epoch = message.end_of_epoch(),
          .adjusted_at = {message.adjusted_at().begin(), message.adjusted_at().end()}};
}

core::AdjustmentAnswered FromProto(core::WorkerId worker, int64_t sequence,
                                   const v1::AdjustReport& message) {
  return {.claim = FromProto(worker, message.attempt()),
          .sequence = sequence,
          .number = message.number(),
          .taken = message.taken(),
          .step = message.step()};
}

core::AttemptEnded FromProto(core::WorkerId worker, int64_t sequence,
                             const v1::AttemptEnded& message) {
  return {.claim = FromProto(worker, message.attempt()),
          .sequence = sequence,
          .outcome = FromProto(message.outcome()),
          .message = message.message(),
          .step = message.step(),
          .confusion = {message.confusion().begin(), message.confusion().end()},
          .adjusted_at = {message.adjusted_at().begin(), message.adjusted_at().end()}};
}

core::ProgramReported FromProto(core::WorkerId worker, int64_t sequence,
                                const v1::ProgramReport& message) {
  core::ProgramReported event{.claim = FromProto(worker, message.attempt()),
                              .sequence = sequence,
                              .description = message.description(),
                              .parameters = message.parameters(),
                              .note = message.note()};
  for (const v1::Change& change : message.applied()) {
    event.applied.push_back({change.path(), change.from(), change.to()});
  }
  return event;
}

core::ModelFinished FromProto(core::WorkerId worker, int64_t sequence,
                              const v1::FinishReport& message) {
  const v1::Model& model = message.model();
  core::ModelFinished event{
      .claim = FromProto(worker, message.attempt()),
      .sequence = sequence,
      .model = {.onnx_sha256 = model.onnx_sha256(),
                .safetensors_sha256 = model.safetensors_sha256(),
                .onnx_bytes = model.onnx_bytes(),
                .safetensors_bytes = model.safetensors_bytes(),
                .test_accuracy = model.test_accuracy(),
                .test_loss = model.test_loss(),
                .test_count = model.test_count(),
                .confusion = {model.confusion().begin(), model.confusion().end()}}};
  for (const v1::ModelFile& file : model.files()) {
    event.model.files.push_back({file.name(), file.sha256(), file.bytes()});
  }
  return event;
}

core::Needs FromProto(const v1::Resources& message) {
  core::Needs needs;
  needs.pool = message.pool();
  if (message.gpu() == v1::Resources::NONE) needs.gpu = core::GpuWish::kNone;
  if (message.gpu() == v1::Resources::REQUIRED) needs.gpu = core::GpuWish::kRequired;
  needs.gpu_memory_bytes = message.gpu_memory_bytes();
  needs.labels = {message.labels().begin(), message.labels().end()};
  needs.priority = message.priority();
  return needs;
}

namespace {

std::set<std::string> HostPaths(const v1::JobSpec& spec) {
  std::set<std::string> paths;
  const auto add = [&](const auto& files) {
    for (const v1::DataFile& file : files) {
      if (!file.host_path().empty()) paths.insert(file.host_path());
    }
  };
  const v1::Data& data = spec.data();
  for (const v1::DataSet* set : {&data.train(), &data.validation(), &data.test()}) {
    add(set->images());
    add(set->labels());
  }
  for (const v1::ProgramData& item : spec.program().data()) {
    if (!item.file().host_path().empty()) paths.insert(item.file().host_path());
  }
  if (!spec.weights().host_path().empty()) paths.insert(spec.weights().host_path());
  return paths;
}

// As training splits them off; 0: unknown.
int64_t ValidationImages(const v1::JobSpec& spec) {
  const v1::Data& data = spec.data();
  if (data.has_validation()) return data.validation().count();
  const int64_t images = data.train().count();
  if (images == 0 || spec.validation().fraction() == 0) return 0;
  const int64_t aside = std::llround(static_cast<double>(images) * spec.validation().fraction());
  return std::min(std::max<int64_t>(aside, 1), images - 1);
}

}  // namespace

core::JobRequest ToRequest(const v1::JobSpec& spec) {
  core::JobRequest request;
  request.name = spec.name();
  request.spec_blob = Deterministic(spec);
  Sha256 hash;
  hash.Add(request.spec_blob);
  request.spec_hash = hash.Hex();
  request.configuration = trainyard::FromProto(spec.configuration());
  request.target.metric = spec.target().metric() == v1::Target::VAL_LOSS
                              ? core::TargetMetric::kValLoss
                              : core::TargetMetric::kValAccuracy;
  request.target.bound = spec.target().bound();
  request.target.confidence = spec.target().confidence();
  request.target.images = ValidationImages(spec);
  request.tuning = FromTune(spec.tune());
  if (spec.has_program()) {
    const v1::Program& program = spec.program();
    request.tuning.enabled = spec.tune().enabled() && program.takes_changes();
    // Our hooks change the models of Keras; another program reads what it likes.
    request.tuning.architecture = program.framework() == "keras";
    request.tuning.convolutions = program.cnn();
  }
  request.budget = {.trials = spec.budget().trials(),
                    .time_ms = spec.budget().time_ms(),
                    .epochs = spec.budget().epochs()};
  request.needs = FromProto(spec.resources());
  request.needs.paths = HostPaths(spec);
  if (spec.has_program()) request.needs.runtime = ProgramRuntime(spec.program().framework());
  request.train_images = spec.data().train().count();
  return request;
}

std::string Utf8(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    if (length == 0) {
      clean += "\xef\xbf\xbd";
      text.remove_prefix(1);
    } else {
      clean += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return clean;
}

}  // namespace trainyard::coordinator
