// Everything that can happen. Nothing else makes the core do anything.
//
// The shell turns what it sees (calls, messages, exits of processes, timers) into events, one at a
// time, in the order in which it saw them. Names are in the past tense: an event is a fact, also
// when it is late, repeated or about something long gone. The core copes with all three.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "coordinator/core/ids.h"
#include "coordinator/core/request.h"
#include "coordinator/core/tuner/tweak.h"
#include "network/training.h"

namespace trainyard::core {

// ---- People and pipelines. `request` gets exactly one effect Answer. ----

// Name and URL are checked by the shell. An existing name: ALREADY_EXISTS.
struct ProjectAdded {
  RequestId request;
  std::string name;
  std::string url;
  std::string branch;
};

// Its jobs go on; nothing new is taken up.
struct ProjectRemoved {
  RequestId request;
  ProjectId project;
};

// The source is a snapshot already and the spec was read and checked.
struct JobSubmitted {
  RequestId request;
  JobRequest job;
};

struct JobCancelled {
  RequestId request;
  JobId job;
};

// Enough: a trial that runs is stopped, and the best checkpoint so far is tested and published.
struct JobConcluded {
  RequestId request;
  JobId job;
};

// Running attempts store a checkpoint and stop; no retry is spent.
struct JobPaused {
  RequestId request;
  JobId job;
};

struct JobResumed {
  RequestId request;
  JobId job;
};

// A person decides about the next trial: the configuration, or none to accept the proposal. A job
// that waits starts the trial at once; in a job that runs, the running trial is stopped first.
//
// Given `trial`, the configuration is meant for that running trial: what can change in mid-run
// (network/adjust.h) does, and nothing is stopped; the rest stops that trial and makes the next.
// The answer says which, and when it takes effect.
struct TweakRequested {
  RequestId request;
  JobId job;
  std::optional<network::Configuration> configuration;
  int trial = 0;  // number; 0: the only one that runs
};

// The worker takes nothing more: what it runs is stopped with a checkpoint and goes on elsewhere.
struct WorkerDrained {
  RequestId request;
  WorkerId worker;
};

// A pinned checkpoint is never deleted.
struct CheckpointPinned {
  RequestId request;
  CheckpointId checkpoint;
  bool pinned = true;
};

// ---- Source. ----

// The branch's tip is this commit now. The tip already taken up: nothing happens.
struct PushSeen {
  ProjectId project;
  std::string commit;
};

// PrepareSource succeeded. `job.project` and `job.commit` are taken from the push.
struct SourcePrepared {
  PushId push;
  JobRequest job;
};

// PrepareSource failed for good (no spec, spec wrong, unknown runtime): `message` is for people.
struct SourceRefused {
  PushId push;
  std::string message;
};

// ---- Where workers come from. ----

// LaunchWorker was performed. `handle` finds the process again after a restart ("pid:start time").
struct WorkerLaunched {
  LaunchId launch;
  std::string handle;
};

enum class LaunchFault {
  kPassing,  // may work again by itself: no room, no answer
  kLasting,  // works only after somebody mended it: an image is missing, no GPU runtime
};

struct WorkerLaunchFailed {
  LaunchId launch;
  LaunchFault fault = LaunchFault::kPassing;
  std::string message;
};

// Where launches wait in a queue (Slurm): this one runs now, and its worker should register soon.
struct LaunchStarted {
  LaunchId launch;
};

// A pool's host cannot be reached. That is not dead: its workers go on, and speak for themselves.
struct HostLost {
  HostName host;
  std::string message;
};
struct HostFound {
  HostName host;
};

enum class ExitKind {
  kCode,         // exit status `number`
  kSignal,       // signal `number`
  kOutOfMemory,  // it, or a process of it, was killed by the kernel or the container's limit
  kUnknown,      // gone while nobody watched, as found when it was to be adopted again
};

// A launched worker is no more, seen by whoever launched or adopted it. No delay, no doubt.
struct WorkerExited {
  LaunchId launch;
  ExitKind kind = ExitKind::kUnknown;
  int number = 0;
  std::string message;  // for people: "killed by signal 9"
};

// ---- Workers. ----

// The GPU that a worker trains on, for people: places are chosen by Abilities.
struct Gpu {
  std::string name;
  std::string uuid;
  int64_t memory_bytes = 0;
  std::string driver;
  std::string compute_capability;
  bool operator==(const Gpu&) const = default;
};

// Of the whole GPU, whoever uses it.
struct GpuUse {
  int64_t memory_used_bytes = -1;  // -1: not known
  int busy_percent = -1;           // -1: not known
  bool operator==(const GpuUse&) const = default;
};

// A process start is one worker: the same incarnation again is the same call again. The answer's
// id is the worker's.
struct WorkerRegistered {
  RequestId request;
  std::string incarnation;  // random per process start
  std::string name;         // "host/pid"
  std::string pool;
  LaunchId launch;  // none: started by somebody else
  std::string host;
  int pid = 0;
  std::string device;
  Abilities abilities;  // of one that somebody else started; others have those of their slot,
                        // but for a GPU that could not be had
  std::optional<Gpu> gpu = {};  // none: it trains on the CPU
};

// A session was opened. `running` is what the worker says it holds; zeros: nothing.
struct WorkerConnected {
  WorkerId worker;
  Claim running;
};

// A session closed. A hint: the worker gets nothing new until it is back, and nothing is taken
// away.
struct WorkerDisconnected {
  WorkerId worker;
};

// The worker leaves by itself and takes nothing more.
struct WorkerLeft {
  WorkerId worker;
  std::string reason;
};

enum class Phase { kLoading, kTraining, kEvaluating, kUploading };

// The worker is alive. Idle: attempt and fencing are zero.
struct LeaseRenewed {
  Claim claim;
  int64_t step = 0;  // steps done; only for kTraining does it have to grow
  Phase phase = Phase::kLoading;
  std::optional<GpuUse> gpu_use = {};
};

// One epoch's numbers. Not a number is stored as such, and equal is what has the same bits.
struct Metrics {
  double train_loss = 0;
  double train_accuracy = 0;
  double val_loss = 0;
  double val_accuracy = 0;
  double learning_rate = 0;  // at the last step
  // Zero: not told.
  double gradient_norm =
      0;                    // L2 of the whole gradient before clipping, mean over the epoch's steps
  double update_ratio = 0;  // L2 of the update of the last whole batch over L2 of the weights
  double dead_units =
      0;  // share of hidden filters and units without a gradient in the last whole batch
  bool operator==(const Metrics& other) const {
    return std::memcmp(this, &other, sizeof *this) == 0;
  }
};

// Reports carry the session's `sequence`, which comes back in Acknowledge once they are committed.
// A report that leaves a gap (epoch 5 before epoch 4, a checkpoint before its epoch) is not
// acknowledged, so that the worker sends it again with what is missing.
struct EpochReported {
  Claim claim;
  int64_t sequence = 0;
  int epoch = 0;     // from 1
  int64_t step = 0;  // steps done at its end
  Metrics metrics;
  double images_per_second = 0;
  double seconds = 0;
  bool exact = true;  // false: continued on another machine, thread count or library
};

// The blob is complete, verified and durable in the store.
struct CheckpointStored {
  Claim claim;
  int64_t sequence = 0;
  std::string sha256;
  int64_t bytes = 0;
  int64_t step = 0;
  int epoch = 0;              // epochs completed
  bool end_of_epoch = false;  // exactly the weights that the row of `epoch` was measured with
  // The steps of the adjustments that these weights were trained with, in order.
  std::vector<int64_t> adjusted_at = {};
};

// A worker's answer to AdjustAttempt.
struct AdjustmentAnswered {
  Claim claim;
  int64_t sequence = 0;
  int number = 0;      // of the adjustment, from 1
  bool taken = false;  // binding: it takes effect at `step`
  int64_t step = 0;    // not taken: the steps that are done
};

// A blob was found torn or altered. Every checkpoint made of it is set aside.
struct CheckpointBroken {
  std::string sha256;
  std::string message;
};

enum class Outcome {
  kCompleted,         // all epochs done, everything reported
  kStopped,           // asked to, or about to be preempted; no retry is spent
  kDiverged,          // loss is not a number
  kFailed,            // may be tried again
  kFailedFinally,     // trying again cannot help
  kOutOfMemory,       // trying the same again cannot help
  kCheckpointBroken,  // what it was to start from is torn or altered
  kDeviceLost,        // its GPU is gone or broken: may go on elsewhere, and the worker leaves
};

struct AttemptEnded {
  Claim claim;
  int64_t sequence = 0;
  Outcome outcome = Outcome::kFailed;
  std::string message;
  int64_t step = 0;
  std::vector<int64_t> confusion;  // validation set, last epoch; row-major (truth, prediction)
  std::vector<int64_t> adjusted_at = {};  // kCompleted: the steps of all adjustments that it held
};

struct ModelFile {
  std::string name;  // unique within the model
  std::string sha256;
  int64_t bytes = 0;
  bool operator==(const ModelFile&) const = default;
};

// What a program of the user's says of itself. Empty: nothing new of that.
struct ProgramReported {
  Claim claim;
  int64_t sequence = 0;
  std::string description;  // of its model, in one line
  int64_t parameters = 0;
  std::vector<Change> applied;  // what the trial's changes made of it
  std::string note;             // for people
};

// What a finishing attempt made; the blobs are in the store.
struct Model {
  std::string onnx_sha256;
  std::string safetensors_sha256;
  int64_t onnx_bytes = 0;
  int64_t safetensors_bytes = 0;
  double test_accuracy = 0;
  double test_loss = 0;
  int64_t test_count = 0;          // 0: the job has no test set
  std::vector<int64_t> confusion;  // test set, row-major (truth, prediction)
  std::vector<ModelFile> files;    // of a program: what it made, instead of onnx and safetensors
  bool operator==(const Model&) const = default;
};

// A finishing attempt is done; it counts as ended.
struct ModelFinished {
  Claim claim;
  int64_t sequence = 0;
  Model model;
};

// ---- The shell itself. ----

// DropCheckpoint was performed; Notify was performed.
struct CheckpointDropped {
  CheckpointId checkpoint;
};
struct NoticeSent {
  NoticeId notice;
  std::string trouble = {};  // who could not be told, and why; empty: nobody
};

// At least every 500 ms; whatever waits for a time is looked at.
struct TimePassed {};

// First event after a start, with the state as it was committed last. Leases, pauses and limits
// start in full again; every effect that was not confirmed comes again.
struct CoordinatorRecovered {
  // Jobs of which the store could not read a record, and why: they are set aside.
  std::map<JobId, std::string> unreadable;
};

// Workers checkpoint and stop; when the effect Quit comes, the process may end. What was running
// goes on at the next start and spends no retry.
struct ShutdownRequested {};

struct Event {
  int64_t now_ms = 0;   // monotonic; decides
  int64_t wall_ms = 0;  // since 1970, for display only
  std::variant<ProjectAdded, ProjectRemoved, JobSubmitted, JobCancelled, JobConcluded, JobPaused,
               JobResumed, TweakRequested, WorkerDrained, CheckpointPinned, PushSeen,
               SourcePrepared, SourceRefused, WorkerLaunched, WorkerLaunchFailed, LaunchStarted,
               WorkerExited, HostLost, HostFound, WorkerRegistered, WorkerConnected,
               WorkerDisconnected, WorkerLeft, LeaseRenewed, EpochReported, CheckpointStored,
               CheckpointBroken, AdjustmentAnswered, AttemptEnded, ProgramReported, ModelFinished,
               CheckpointDropped, NoticeSent, TimePassed, CoordinatorRecovered, ShutdownRequested>
      what;
};

}  // namespace trainyard::core
