#include "coordinator/convert/api.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "network/shapes.h"
#include "proto/spec_convert.h"

namespace trainyard::coordinator {
namespace {

template <typename Key, typename Record>
const Record* Find(const std::map<Key, Record>& records, Key id) {
  const auto found = records.find(id);
  return found == records.end() ? nullptr : &found->second;
}

int NumberOf(const core::State& state, core::TrialId id) {
  const core::Trial* trial = Find(state.trials, id);
  return trial == nullptr ? 0 : trial->number;
}

int NumberOf(const core::State& state, core::AttemptId id) {
  const core::Attempt* attempt = Find(state.attempts, id);
  return attempt == nullptr ? 0 : attempt->number;
}

double MetricOf(const core::Metrics& metrics, core::TargetMetric metric) {
  return metric == core::TargetMetric::kValLoss ? metrics.val_loss : metrics.val_accuracy;
}

bool Better(double a, double b, core::TargetMetric metric) {
  return metric == core::TargetMetric::kValLoss ? a < b : a > b;
}

struct Best {
  double metric = 0;
  int epoch = 0;  // 0: none
};

// By the rows of metrics where they are known, else by the checkpoints.
Best BestOf(const core::State& state, core::TrialId trial, core::TargetMetric metric) {
  Best best;
  const auto consider = [&](double value, int epoch) {
    if (std::isnan(value)) return;
    if (best.epoch == 0 || Better(value, best.metric, metric)) best = {value, epoch};
  };
  for (auto row = state.epochs.lower_bound(core::EpochKey{trial});
       row != state.epochs.end() && row->first.trial == trial; ++row) {
    if (!row->second.superseded) consider(MetricOf(row->second.metrics, metric), row->first.epoch);
  }
  if (best.epoch != 0) return best;
  for (const auto& [id, checkpoint] : state.checkpoints) {
    if (checkpoint.trial == trial && checkpoint.metric) {
      consider(*checkpoint.metric, checkpoint.epoch);
    }
  }
  return best;
}

const core::Epoch* LiveRow(const core::State& state, core::TrialId trial, int epoch) {
  for (auto row = state.epochs.lower_bound(core::EpochKey{trial, epoch});
       row != state.epochs.end() && row->first.trial == trial && row->first.epoch == epoch; ++row) {
    if (!row->second.superseded) return &row->second;
  }
  return nullptr;
}

std::string ProjectName(const core::State& state, core::ProjectId id) {
  const core::Project* project = Find(state.projects, id);
  return project == nullptr ? "" : Utf8(project->name);
}

template <typename Map>
void PutLabels(const core::Labels& labels, Map* message) {
  for (const auto& [name, value] : labels) (*message)[Utf8(name)] = Utf8(value);
}

v1::Worker::State StateOf(const core::Worker& worker) {
  switch (worker.state) {
    case core::WorkerState::kGone:
      return v1::Worker::GONE;
    case core::WorkerState::kDismissed:
      return v1::Worker::DRAINING;
    case core::WorkerState::kIdle:
    case core::WorkerState::kBusy:
      break;
  }
  if (!worker.live.connected || worker.live.silent) return v1::Worker::LOST;
  if (worker.draining) return v1::Worker::DRAINING;
  return worker.state == core::WorkerState::kBusy ? v1::Worker::BUSY : v1::Worker::IDLE;
}

}  // namespace

v1::JobState ToProto(const core::Job& job) {
  if (job.paused && !job.ended()) return v1::JOB_STATE_PAUSED;
  switch (job.state) {
    case core::JobState::kQueued:
      return v1::JOB_STATE_QUEUED;
    case core::JobState::kRunning:
      return v1::JOB_STATE_RUNNING;
    case core::JobState::kWaiting:
      return v1::JOB_STATE_WAITING;
    case core::JobState::kFinishing:
      return v1::JOB_STATE_FINISHING;
    case core::JobState::kSucceeded:
      return v1::JOB_STATE_SUCCEEDED;
    case core::JobState::kBelowTarget:
      return v1::JOB_STATE_BELOW_TARGET;
    case core::JobState::kFailed:
      return v1::JOB_STATE_FAILED;
    case core::JobState::kCancelled:
      return v1::JOB_STATE_CANCELLED;
  }
  return v1::JOB_STATE_UNSPECIFIED;
}

v1::TrialState ToProto(core::TrialState state) {
  switch (state) {
    case core::TrialState::kQueued:
      return v1::TRIAL_STATE_QUEUED;
    case core::TrialState::kRunning:
      return v1::TRIAL_STATE_RUNNING;
    case core::TrialState::kHalted:
      return v1::TRIAL_STATE_HALTED;
    case core::TrialState::kFinishing:  // its training is done
    case core::TrialState::kCompleted:
      return v1::TRIAL_STATE_COMPLETED;
    case core::TrialState::kDiverged:
      return v1::TRIAL_STATE_DIVERGED;
    case core::TrialState::kFailed:
      return v1::TRIAL_STATE_FAILED;
    case core::TrialState::kCancelled:
      return v1::TRIAL_STATE_CANCELLED;
  }
  return v1::TRIAL_STATE_UNSPECIFIED;
}

v1::AttemptState ToProto(core::AttemptState state) {
  switch (state) {
    case core::AttemptState::kQueued:
      return v1::ATTEMPT_STATE_QUEUED;
    case core::AttemptState::kStarting:
      return v1::ATTEMPT_STATE_STARTING;
    case core::AttemptState::kRunning:
    case core::AttemptState::kStopping:  // until it has stopped
      return v1::ATTEMPT_STATE_RUNNING;
    case core::AttemptState::kCompleted:
      return v1::ATTEMPT_STATE_COMPLETED;
    case core::AttemptState::kFailed:
      return v1::ATTEMPT_STATE_FAILED;
    case core::AttemptState::kLost:
      return v1::ATTEMPT_STATE_LOST;
    case core::AttemptState::kStopped:
      return v1::ATTEMPT_STATE_STOPPED;
  }
  return v1::ATTEMPT_STATE_UNSPECIFIED;
}

namespace {

v1::Change ToProto(const core::Change& change) {
  v1::Change message;
  message.set_path(Utf8(change.path));
  message.set_from(Utf8(change.from));
  message.set_to(Utf8(change.to));
  return message;
}

}  // namespace

v1::Tweak ToProto(const core::Tweak& tweak) {
  v1::Tweak message;
  message.set_finding(core::FindingName(tweak.finding.kind));
  message.set_reason(Utf8(tweak.reason));
  message.set_expectation(Utf8(tweak.expectation));
  for (const core::Change& change : tweak.changes) {
    *message.add_changes() = ToProto(change);
  }
  message.set_diagnosis(Utf8(tweak.finding.text));
  for (const auto& [name, value] : tweak.finding.evidence) {
    (*message.mutable_evidence())[Utf8(name)] = value;
  }
  message.set_move(Utf8(tweak.move));
  message.set_base(tweak.base);
  message.set_expected_gain(tweak.expected_gain);
  return message;
}

v1::Adjustment ToProto(const core::Adjustment& adjustment, int number) {
  v1::Adjustment message;
  message.set_number(number);
  message.set_step(adjustment.step);
  message.set_at_epoch(adjustment.at_epoch);
  message.set_stop(adjustment.stop);
  *message.mutable_configuration() = trainyard::ToProto(adjustment.configuration);
  message.set_settled(adjustment.settled);
  *message.mutable_tweak() = ToProto(adjustment.tweak);
  return message;
}

v1::Project ToProto(const core::Project& project) {
  v1::Project message;
  message.set_id(project.id.value);
  message.set_name(Utf8(project.name));
  message.set_url(Utf8(project.url));
  message.set_branch(Utf8(project.branch));
  message.set_last_commit(Utf8(project.last_commit));
  message.set_last_error(Utf8(project.last_error));
  message.set_created_ms(project.created_wall_ms);
  return message;
}

v1::Epoch ToProto(const core::State& state, const core::Epoch& epoch) {
  v1::Epoch message;
  message.set_trial(NumberOf(state, epoch.key.trial));
  message.set_epoch(epoch.key.epoch);
  message.set_attempt(NumberOf(state, epoch.key.attempt));
  message.set_step(epoch.step);
  message.set_train_loss(epoch.metrics.train_loss);
  message.set_train_accuracy(epoch.metrics.train_accuracy);
  message.set_val_loss(epoch.metrics.val_loss);
  message.set_val_accuracy(epoch.metrics.val_accuracy);
  message.set_learning_rate(epoch.metrics.learning_rate);
  message.set_gradient_norm(epoch.metrics.gradient_norm);
  message.set_update_ratio(epoch.metrics.update_ratio);
  message.set_dead_units(epoch.metrics.dead_units);
  message.set_images_per_second(epoch.images_per_second);
  message.set_seconds(epoch.seconds);
  message.set_exact(epoch.exact);
  return message;
}

v1::Attempt ToProto(const core::State& state, const core::Attempt& attempt) {
  v1::Attempt message;
  message.set_id(attempt.id.value);
  message.set_number(attempt.number);
  message.set_finishing(attempt.finishing);
  message.set_state(ToProto(attempt.state));
  if (const core::Worker* worker = Find(state.workers, attempt.worker)) {
    message.set_worker(Utf8(worker->name));
  } else if (attempt.worker) {
    message.set_worker("worker " + std::to_string(attempt.worker.value));
  }
  const bool says = attempt.ended() || attempt.state == core::AttemptState::kStopping;
  if (says) {
    message.set_cause(attempt.message.empty() ? core::Name(attempt.cause) : Utf8(attempt.message));
  }
  message.set_from_step(attempt.from_step);
  message.set_step(std::max(attempt.step, attempt.live.step));
  message.set_started_ms(attempt.started_wall_ms);
  message.set_ended_ms(attempt.ended_wall_ms);
  return message;
}

v1::Trial ToProto(const core::State& state, const core::Trial& trial, JobDetail detail) {
  v1::Trial message;
  message.set_id(trial.id.value);
  message.set_number(trial.number);
  message.set_state(ToProto(trial.state));
  message.set_reason(Utf8(trial.reason));
  const network::Network& network = trial.configuration.network;
  if (trial.configuration.IsProgram()) {
    message.set_description(Utf8(trial.description));
    message.set_parameters(trial.parameters);
    for (const core::Change& change : trial.applied) *message.add_applied() = ToProto(change);
  } else {
    message.set_description(network::Describe(network));
    message.set_parameters(network::ParameterCount(network));
  }
  if (trial.tweak) *message.mutable_tweak() = ToProto(*trial.tweak);
  if (const core::Checkpoint* weights = Find(state.checkpoints, trial.inherits)) {
    message.set_inherited_from(NumberOf(state, weights->trial));
  }
  message.set_until_epoch(trial.until_epoch);
  if (trial.gained) message.set_gained(*trial.gained);
  int restarts = 0;
  bool goes_on = true;  // the first attempt, and the one after a rung of a search: no restart
  int64_t uncounted_ms = 0;
  for (const auto& [id, attempt] : state.attempts) {
    if (attempt.trial != trial.id) continue;
    if (!attempt.finishing) {
      restarts += goes_on ? 0 : 1;
      goes_on = attempt.state == core::AttemptState::kCompleted;
    }
    if (!attempt.ended()) uncounted_ms += attempt.live.training_ms;
    if (detail == JobDetail::kFull) *message.add_attempts() = ToProto(state, attempt);
  }
  message.set_restarts(restarts);
  message.set_training_ms(trial.training_ms + uncounted_ms);
  const core::Job* job = Find(state.jobs, trial.job);
  const Best best =
      BestOf(state, trial.id, job ? job->request.target.metric : core::TargetMetric::kValAccuracy);
  message.set_best_metric(best.metric);
  message.set_best_epoch(best.epoch);
  if (detail == JobDetail::kSummary) return message;

  *message.mutable_configuration() = trainyard::ToProto(trial.configuration);
  int number = 0;
  for (const core::Adjustment& adjustment : trial.adjustments) {
    *message.add_adjustments() = ToProto(adjustment, ++number);
  }
  for (auto row = state.epochs.lower_bound(core::EpochKey{trial.id});
       row != state.epochs.end() && row->first.trial == trial.id; ++row) {
    if (!row->second.superseded) *message.add_epochs() = ToProto(state, row->second);
  }
  return message;
}

v1::Model ToModel(const core::State& state, const core::Job& job) {
  v1::Model message;
  if (!job.model) return message;
  const core::Model& model = *job.model;
  message.set_job(job.id.value);
  message.set_name(Utf8(job.request.name));
  message.set_onnx_sha256(model.onnx_sha256);
  message.set_safetensors_sha256(model.safetensors_sha256);
  message.set_onnx_bytes(model.onnx_bytes);
  message.set_safetensors_bytes(model.safetensors_bytes);
  message.set_test_accuracy(model.test_accuracy);
  message.set_test_loss(model.test_loss);
  message.set_test_count(model.test_count);
  message.mutable_confusion()->Assign(model.confusion.begin(), model.confusion.end());
  for (const core::ModelFile& file : model.files) {
    v1::ModelFile* to = message.add_files();
    to->set_name(Utf8(file.name));
    to->set_sha256(file.sha256);
    to->set_bytes(file.bytes);
  }
  message.set_target_met(job.target_met);
  message.set_published_ms(job.ended_wall_ms);
  v1::JobSpec spec;
  if (spec.ParseFromString(job.request.spec_blob)) {
    *message.mutable_class_names() = spec.data().class_names();
  }
  const core::Checkpoint* best = Find(state.checkpoints, job.best);
  if (best == nullptr) return message;
  message.set_epoch(best->epoch);
  if (const core::Epoch* row = LiveRow(state, best->trial, best->epoch)) {
    message.set_val_accuracy(row->metrics.val_accuracy);
    message.set_val_loss(row->metrics.val_loss);
  } else if (best->metric && job.request.target.metric == core::TargetMetric::kValLoss) {
    message.set_val_loss(*best->metric);
  } else if (best->metric) {
    message.set_val_accuracy(*best->metric);
  }
  if (const core::Trial* trial = Find(state.trials, best->trial)) {
    message.set_trial(trial->number);
    const network::Network& network = trial->configuration.network;
    const bool program = trial->configuration.IsProgram();
    message.set_description(program ? Utf8(trial->description) : network::Describe(network));
    message.set_parameters(program ? trial->parameters : network::ParameterCount(network));
  }
  return message;
}

v1::Job ToProto(const core::State& state, const core::Job& job, JobDetail detail) {
  v1::Job message;
  const core::JobRequest& request = job.request;
  message.set_id(job.id.value);
  message.set_name(Utf8(request.name));
  message.set_project(ProjectName(state, request.project));
  message.set_source(Utf8(request.source));
  message.set_commit(Utf8(request.commit));
  message.set_state(ToProto(job));
  message.set_reason(Utf8(job.reason));
  message.set_manual(request.manual);
  message.set_created_ms(job.created_wall_ms);
  message.set_ended_ms(job.ended_wall_ms);
  if (detail == JobDetail::kFull) message.mutable_spec()->ParseFromString(request.spec_blob);
  for (const core::TrialId id : job.trials) {
    const core::Trial* trial = Find(state.trials, id);
    if (trial != nullptr) *message.add_trials() = ToProto(state, *trial, detail);
  }
  if (job.model) *message.mutable_model() = ToModel(state, job);
  if (job.proposal) *message.mutable_proposal() = ToProto(job.proposal->tweak);
  if (job.best_metric) message.set_best_metric(*job.best_metric);
  if (const core::Checkpoint* best = Find(state.checkpoints, job.best)) {
    message.set_best_trial(NumberOf(state, best->trial));
    message.set_best_epoch(best->epoch);
  }
  return message;
}

v1::Worker ToProto(const core::State& state, const core::Worker& worker) {
  v1::Worker message;
  message.set_id(worker.id.value);
  message.set_name(Utf8(worker.name));
  message.set_pool(Utf8(worker.pool));
  message.set_host(Utf8(worker.host));
  message.set_pid(worker.pid);
  message.set_device(Utf8(worker.device));
  message.set_state(StateOf(worker));
  message.set_gpu(worker.abilities.gpu);
  message.set_gpu_memory_bytes(worker.abilities.gpu_memory_bytes);
  PutLabels(worker.abilities.labels, message.mutable_labels());
  if (worker.gpu) {
    v1::Gpu& gpu = *message.mutable_gpu_device();
    gpu.set_name(Utf8(worker.gpu->name));
    gpu.set_uuid(Utf8(worker.gpu->uuid));
    gpu.set_memory_bytes(worker.gpu->memory_bytes);
    gpu.set_driver(Utf8(worker.gpu->driver));
    gpu.set_compute_capability(Utf8(worker.gpu->compute_capability));
  }
  if (const auto& use = worker.live.gpu_use) {
    message.mutable_gpu_use()->set_memory_used_bytes(use->memory_used_bytes);
    message.mutable_gpu_use()->set_busy_percent(use->busy_percent);
  }
  if (const core::Attempt* attempt = Find(state.attempts, worker.attempt)) {
    message.set_job(attempt->job.value);
    message.set_trial(NumberOf(state, attempt->trial));
    message.set_attempt(attempt->number);
  }
  return message;
}

v1::WorkerPool ToProto(const core::State& state, const std::string& name,
                       const core::PoolSettings& pool, int64_t now_ms) {
  v1::WorkerPool message;
  message.set_name(name);
  message.set_kind(pool.kind);
  for (const auto& [host, slots] : pool.hosts) {
    v1::WorkerHost& shown = *message.add_hosts();
    shown.set_name(host);
    shown.set_slots(static_cast<int>(slots.size()));
    shown.set_reachable(true);
    int gpus = 0;
    for (const core::Abilities& can : slots) {
      gpus += can.gpu ? 1 : 0;
      shown.set_gpu_memory_bytes(std::max(shown.gpu_memory_bytes(), can.gpu_memory_bytes));
      PutLabels(can.labels, message.mutable_labels());  // those of the pool, the same in each slot
    }
    shown.set_gpu_slots(gpus);
    const core::HostName place{name, host};
    for (const auto& [id, launch] : state.launches) {
      const bool here = launch.state != core::LaunchState::kOver && launch.slot.host == place;
      shown.set_used(shown.used() + (here ? 1 : 0));
    }
    const auto health = state.hosts.find(place);
    if (health == state.hosts.end()) continue;
    shown.set_reachable(health->second.reachable);
    const int64_t wait_ms = std::max<int64_t>(0, health->second.not_before_ms - now_ms);
    if (shown.reachable() && wait_ms == 0) continue;
    shown.set_trouble(Utf8(health->second.message));
    shown.set_retry_in_ms(wait_ms);
  }
  return message;
}

v1::Event ToProto(const core::State& state, const core::HistoryRow& row) {
  v1::Event message;
  message.set_cursor(row.cursor);
  message.set_job(row.job.value);
  message.set_time_ms(row.wall_ms);
  message.set_kind(core::Name(row.kind));
  message.set_message(Utf8(row.text));
  message.set_trial(NumberOf(state, row.trial));
  message.set_attempt(NumberOf(state, row.attempt));
  const core::Job* job = Find(state.jobs, row.job);
  const core::ProjectId project =
      row.project || job == nullptr ? row.project : job->request.project;
  message.set_project(ProjectName(state, project));
  switch (row.kind) {
    case core::HistoryKind::kEpoch:
      if (const core::Epoch* epoch = Find(state.epochs, row.epoch)) {
        *message.mutable_epoch() = ToProto(state, *epoch);
      }
      break;
    case core::HistoryKind::kTweak:
      if (const core::Trial* trial = Find(state.trials, row.trial); trial && trial->tweak) {
        *message.mutable_tweak() = ToProto(*trial->tweak);
      }
      break;
    case core::HistoryKind::kAdjustment:
      if (const core::Trial* trial = Find(state.trials, row.trial);
          trial && !trial->adjustments.empty()) {
        *message.mutable_tweak() = ToProto(trial->adjustments.back().tweak);
      }
      break;
    case core::HistoryKind::kWaiting:
      if (job && job->proposal) *message.mutable_tweak() = ToProto(job->proposal->tweak);
      break;
    case core::HistoryKind::kJobEnded:
      if (job) message.set_job_state(ToProto(*job));
      break;
    default:
      break;
  }
  return message;
}

}  // namespace trainyard::coordinator
