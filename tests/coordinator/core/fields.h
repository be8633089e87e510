// The fields of events and effects by name, so that scenarios can write them and read them.
//
// Fields(record, visit) calls visit("name", member) for each member worth showing.
#pragma once

#include "coordinator/core/effect.h"
#include "coordinator/core/event.h"

namespace trainyard::core {

// The names that scenarios use, in the order of the variants.
inline constexpr const char* kEventNames[] = {
    "project_added",    "project_removed",   "job_submitted",     "job_cancelled",
    "job_concluded",    "job_paused",        "job_resumed",       "tweak_requested",
    "worker_drained",   "checkpoint_pinned", "push_seen",         "source_prepared",
    "source_refused",   "worker_launched",   "launch_failed",     "launch_started",
    "worker_exited",    "host_lost",         "host_found",        "worker_registered",
    "worker_connected", "disconnected",      "worker_left",       "renewed",
    "epoch_reported",   "checkpoint_stored", "checkpoint_broken", "adjustment_answered",
    "attempt_ended",    "program_reported",  "model_finished",    "checkpoint_dropped",
    "notice_sent",      "time_passed",       "recovered",         "shutdown_requested"};
inline constexpr const char* kEffectNames[] = {
    "answer",         "prepare_source",  "launch_worker", "adopt_worker",
    "stop_worker",    "remove_strays",   "start_attempt", "adjust_attempt",
    "stop_attempt",   "supersede",       "grant_lease",   "acknowledge",
    "dismiss_worker", "drop_checkpoint", "notify",        "quit"};

static_assert(std::size(kEventNames) == std::variant_size_v<decltype(Event::what)>);
static_assert(std::size(kEffectNames) == std::variant_size_v<Effect>);

// What a scenario says of a job; the rest is the same for all (see SampleRequest).
template <typename R, typename V>
void RequestFields(R& job, V visit) {
  visit("name", job.name);
  visit("spec", job.spec_hash);
  visit("key", job.request_key);
  visit("target", job.target.bound);
  visit("program", job.configuration);
  visit("epochs", job.configuration.training.epochs);
  visit("lr", job.configuration.training.optimizer.learning_rate);
  visit("tuning", job.tuning.enabled);
  visit("parallel", job.tuning.parallel), visit("patience", job.tuning.patience);
  visit("confidence", job.target.confidence), visit("images", job.target.images);
  visit("trials", job.budget.trials);
  visit("time_ms", job.budget.time_ms);
  visit("budget_epochs", job.budget.epochs);
  visit("manual", job.manual);
  visit("again", job.again);
  visit("source", job.source);
  visit("pool", job.needs.pool);
  visit("gpu", job.needs.gpu);
  visit("memory", job.needs.gpu_memory_bytes);
  visit("priority", job.needs.priority);
}

template <typename S, typename V>
void SlotFields(S& slot, V visit) {
  visit("pool", slot.host.pool), visit("host", slot.host.host), visit("slot", slot.slot);
}

// True for const and other records alike: each record has fields in one of the functions below.
template <typename T, typename Kind>
concept Is = std::is_same_v<std::remove_const_t<T>, Kind>;

template <typename T, typename V>
void RequestEventFields(T& e, V visit) {
  if constexpr (Is<T, ProjectAdded>) {
    visit("request", e.request), visit("name", e.name), visit("url", e.url);
    visit("branch", e.branch);
  } else if constexpr (Is<T, ProjectRemoved>) {
    visit("request", e.request), visit("project", e.project);
  } else if constexpr (Is<T, JobSubmitted>) {
    visit("request", e.request), RequestFields(e.job, visit);
  } else if constexpr (Is<T, JobCancelled> || Is<T, JobConcluded> || Is<T, JobPaused> ||
                       Is<T, JobResumed>) {
    visit("request", e.request), visit("job", e.job);
  } else if constexpr (Is<T, TweakRequested>) {
    visit("request", e.request), visit("job", e.job), visit("lr", e.configuration);
    visit("trial", e.trial);
  } else if constexpr (Is<T, WorkerDrained>) {
    visit("request", e.request), visit("worker", e.worker);
  } else if constexpr (Is<T, CheckpointPinned>) {
    visit("request", e.request), visit("checkpoint", e.checkpoint), visit("pinned", e.pinned);
  } else if constexpr (Is<T, PushSeen>) {
    visit("project", e.project), visit("commit", e.commit);
  } else if constexpr (Is<T, SourcePrepared>) {
    visit("push", e.push), RequestFields(e.job, visit);
  } else if constexpr (Is<T, SourceRefused>) {
    visit("push", e.push), visit("message", e.message);
  }
}

template <typename T, typename V>
void WorkerEventFields(T& e, V visit) {
  if constexpr (Is<T, WorkerLaunched>) {
    visit("launch", e.launch), visit("handle", e.handle);
  } else if constexpr (Is<T, WorkerLaunchFailed>) {
    visit("launch", e.launch), visit("fault", e.fault), visit("message", e.message);
  } else if constexpr (Is<T, LaunchStarted>) {
    visit("launch", e.launch);
  } else if constexpr (Is<T, HostLost>) {
    visit("pool", e.host.pool), visit("host", e.host.host), visit("message", e.message);
  } else if constexpr (Is<T, HostFound>) {
    visit("pool", e.host.pool), visit("host", e.host.host);
  } else if constexpr (Is<T, WorkerExited>) {
    visit("launch", e.launch), visit("kind", e.kind), visit("number", e.number);
    visit("message", e.message);
  } else if constexpr (Is<T, WorkerRegistered>) {
    visit("request", e.request), visit("incarnation", e.incarnation), visit("name", e.name);
    visit("pool", e.pool), visit("launch", e.launch), visit("host", e.host);
    visit("gpu", e.gpu);
  } else if constexpr (Is<T, WorkerConnected>) {
    visit("worker", e.worker), visit("running", e.running);
  } else if constexpr (Is<T, WorkerDisconnected>) {
    visit("worker", e.worker);
  } else if constexpr (Is<T, WorkerLeft>) {
    visit("worker", e.worker), visit("reason", e.reason);
  } else if constexpr (Is<T, LeaseRenewed>) {
    visit("claim", e.claim), visit("step", e.step), visit("phase", e.phase);
  } else if constexpr (Is<T, EpochReported>) {
    visit("claim", e.claim), visit("sequence", e.sequence), visit("epoch", e.epoch);
    visit("step", e.step), visit("train", e.metrics.train_accuracy);
    visit("val", e.metrics.val_accuracy), visit("loss", e.metrics.val_loss);
  } else if constexpr (Is<T, CheckpointStored>) {
    visit("claim", e.claim), visit("sequence", e.sequence), visit("sha", e.sha256);
    visit("step", e.step), visit("epoch", e.epoch), visit("end", e.end_of_epoch);
    visit("adjusted", e.adjusted_at);
  } else if constexpr (Is<T, CheckpointBroken>) {
    visit("sha", e.sha256), visit("message", e.message);
  } else if constexpr (Is<T, AdjustmentAnswered>) {
    visit("claim", e.claim), visit("sequence", e.sequence), visit("number", e.number);
    visit("taken", e.taken), visit("step", e.step);
  } else if constexpr (Is<T, AttemptEnded>) {
    visit("claim", e.claim), visit("sequence", e.sequence), visit("outcome", e.outcome);
    visit("step", e.step), visit("message", e.message), visit("adjusted", e.adjusted_at);
  } else if constexpr (Is<T, ProgramReported>) {
    visit("claim", e.claim), visit("sequence", e.sequence), visit("model", e.description);
    visit("note", e.note);
  } else if constexpr (Is<T, ModelFinished>) {
    visit("claim", e.claim), visit("sequence", e.sequence), visit("onnx", e.model.onnx_sha256);
    visit("test", e.model.test_accuracy), visit("images", e.model.test_count);
  } else if constexpr (Is<T, CheckpointDropped>) {
    visit("checkpoint", e.checkpoint);
  } else if constexpr (Is<T, NoticeSent>) {
    visit("notice", e.notice), visit("trouble", e.trouble);
  }
}

template <typename T, typename V>
void EffectFields(T& e, V visit) {
  if constexpr (Is<T, AdjustAttempt>) {
    visit("claim", e.claim), visit("trial", e.trial), visit("number", e.number);
  } else if constexpr (Is<T, Answer>) {
    visit("request", e.request), visit("code", e.code), visit("id", e.id);
    visit("existed", e.existed), visit("message", e.message);
  } else if constexpr (Is<T, PrepareSource>) {
    visit("push", e.push), visit("project", e.project), visit("commit", e.commit);
  } else if constexpr (Is<T, LaunchWorker>) {
    visit("launch", e.launch), SlotFields(e.slot, visit);
  } else if constexpr (Is<T, AdoptWorker>) {
    visit("launch", e.launch), SlotFields(e.slot, visit), visit("handle", e.handle);
  } else if constexpr (Is<T, StopWorker>) {
    visit("launch", e.launch), SlotFields(e.slot, visit), visit("handle", e.handle);
    visit("grace_ms", e.grace_ms);
  } else if constexpr (Is<T, StartAttempt>) {
    visit("claim", e.claim), visit("job", e.job), visit("trial", e.trial);
    visit("finishing", e.finishing), visit("restore", e.restore), visit("sha", e.checkpoint_sha256);
  } else if constexpr (Is<T, StopAttempt>) {
    visit("claim", e.claim), visit("checkpoint", e.checkpoint), visit("reason", e.reason);
  } else if constexpr (Is<T, SupersedeAttempt>) {
    visit("claim", e.claim), visit("reason", e.reason);
  } else if constexpr (Is<T, GrantLease>) {
    visit("claim", e.claim), visit("lease_ms", e.lease_ms);
  } else if constexpr (Is<T, Acknowledge>) {
    visit("claim", e.claim), visit("sequence", e.sequence);
  } else if constexpr (Is<T, DismissWorker>) {
    visit("worker", e.worker), visit("reason", e.reason);
  } else if constexpr (Is<T, DropCheckpoint>) {
    visit("checkpoint", e.checkpoint), visit("sha", e.sha256);
  } else if constexpr (Is<T, Notify>) {
    visit("notice", e.notice), visit("job", e.job), visit("text", e.text);
  }
}

// Those without a field: TimePassed, CoordinatorRecovered, ShutdownRequested, Quit.
template <typename T, typename V>
void Fields(T& e, V visit) {
  RequestEventFields(e, visit);
  WorkerEventFields(e, visit);
  EffectFields(e, visit);
}

}  // namespace trainyard::core
