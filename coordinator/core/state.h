// Everything that is known: plain records in ordered maps, copied and compared freely.
//
// Unfinished jobs and what belongs to them live here; history is read from the store. Each record
// is a row of the store under its id, but for its `live` part and whatever is marked volatile:
// that holds monotonic times and sessions, which are worth nothing after a restart, and
// CoordinatorRecovered sets it anew. Records are never removed by a step; Forget (step.h) lets go
// of those that are over. *_wall_ms are for display; nothing is decided by them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/core/event.h"
#include "coordinator/core/ids.h"
#include "coordinator/core/request.h"
#include "coordinator/core/tuner/tweak.h"
#include "network/training.h"

namespace trainyard::core {

// A watched repository and branch.
struct Project {
  ProjectId id;
  std::string name;
  std::string url;
  std::string branch;
  std::string last_commit;  // the newest that was seen
  PushId last_push;         // the push it was seen with
  std::string last_error;   // why the newest push made no job; empty: it did, or will
  bool removed = false;
  int64_t created_wall_ms = 0;
  bool operator==(const Project&) const = default;
};

enum class PushState { kPreparing, kTaken, kRefused };

// A commit on its way to becoming a job.
struct Push {
  PushId id;
  ProjectId project;
  std::string commit;
  PushState state = PushState::kPreparing;
  std::string message;  // kRefused: why
  JobId job;            // kTaken: what it made, or the same job made before
  bool operator==(const Push&) const = default;
};

enum class JobState {
  kQueued,       // no attempt has run yet
  kRunning,      // a trial trains
  kWaiting,      // a manual job between two trials: a person decides
  kFinishing,    // the best checkpoint is tested, exported and published
  kSucceeded,    // target met, model published
  kBelowTarget,  // budget spent, best model so far published
  kFailed,
  kCancelled,
};

// A next trial, not started yet.
struct Proposal {
  Tweak tweak;
  network::Configuration configuration;
  bool operator==(const Proposal&) const = default;
};

// One commit's request. The head of job.cc has the table of its states.
struct Job {
  JobId id;
  JobRequest request;    // never changes
  std::string identity;  // of the request, unique; also of jobs long forgotten (State::identities)
  JobState state = JobState::kQueued;
  bool paused = false;  // keeps its state, gets no worker
  std::string reason;   // of the state, for people: "target met at epoch 3 of trial 2: ..."
  std::vector<TrialId> trials;
  std::optional<Proposal> proposal;  // kWaiting: what the tuner would do
  CheckpointId proposal_inherits;    // whose weights the proposal starts from
  std::optional<Proposal> decided;   // by a person, starts when the running trial has stopped
  CheckpointId best;                 // the best one of all trials that could be published
  std::optional<double> best_metric;
  bool target_met = false;     // decided when finishing starts
  int retries_left = 0;        // of finishing attempts; only shrinks
  std::optional<Model> model;  // once published
  int64_t created_wall_ms = 0;
  int64_t ended_wall_ms = 0;
  bool operator==(const Job&) const = default;

  bool ended() const { return state >= JobState::kSucceeded; }
};

enum class TrialState {
  kQueued,  // no attempt has run yet
  kRunning,
  kHalted,     // at a rung of the search, without an attempt: goes on if it is promoted
  kFinishing,  // target met, its best checkpoint is being published; kRunning again should it break
  kCompleted,  // all epochs, or the target met, or stopped early by a person's tweak
  kDiverged,
  kFailed,
  kCancelled,
};

// A change of a running trial. It is committed before a worker hears of it, and every attempt gets
// the whole list, so that whoever trains the trial again does the same at the same steps.
struct Adjustment {
  int64_t step = 0;       // done before it takes effect; may move until it is settled
  bool at_epoch = false;  // waits for the end of an epoch, from `step` on
  bool stop = false;      // the trial ends at that step
  network::Configuration configuration;  // from then on
  Tweak tweak;                           // why
  bool settled = false;                  // a worker is bound to it, or a checkpoint has it
  bool operator==(const Adjustment&) const = default;
};

// One configuration of a job. The head of trial.cc has the table of its states.
struct Trial {
  TrialId id;
  JobId job;
  int number = 0;  // within the job, from 1
  TrialState state = TrialState::kQueued;
  std::string reason;  // why it ended, for people
  network::Configuration configuration;
  std::optional<Tweak> tweak;  // what made it; none: the spec as written
  CheckpointId inherits;       // whose weights it started from
  AttemptId attempt;           // the current or last one
  int attempts = 0;
  int retries_left = 0;            // only shrinks
  int failures = 0;                // in a row without a new checkpoint: the pause grows with it
  int64_t training_ms = 0;         // summed over attempts, as of the last report
  std::vector<int64_t> confusion;  // of the last epoch, row-major (truth, prediction)
  std::string description;         // of a program's model, as it said
  int64_t parameters = 0;          // likewise
  std::vector<Change> applied;     // what the configuration's changes made of that model
  std::vector<std::string> notes;  // what the program said to people last
  std::vector<Adjustment> adjustments;  // in order of their steps; only the last may be unsettled
  int until_epoch = 0;                  // halts after it; 0: trains to the last
  int rewinds = 0;                      // after the loss had run away
  std::optional<double> gained;         // over tweak->base, towards the target, once it has ended
  bool operator==(const Trial&) const = default;

  bool ended() const { return state >= TrialState::kCompleted; }
  bool going() const { return !ended() && state != TrialState::kHalted; }  // has an attempt
  // With all adjustments, those included that have not taken effect yet.
  const network::Configuration& current() const {
    return adjustments.empty() ? configuration : adjustments.back().configuration;
  }
  int epochs() const;  // after which its attempt is complete; 0: a program's own number
};

enum class AttemptState {
  kQueued,    // for a worker
  kStarting,  // given to a worker that has not said yet that it holds it
  kRunning,
  kStopping,  // asked to store a checkpoint and stop
  kCompleted,
  kFailed,   // the worker said so
  kLost,     // exit, lease expired, stalled
  kStopped,  // on request, or because nobody needs it any more
};

// Why an attempt ended or is to stop.
enum class Cause {
  kNone,
  kEpochsDone,
  kTargetMet,
  kPublished,
  kDiverged,
  kFailed,
  kFailedFinally,
  kOutOfMemory,
  kCheckpointBroken,
  kWorkerExited,
  kLeaseExpired,
  kStalled,
  kDeviceLost,
  kPreempted,  // the worker was told to go, by whoever owns its host
  kPaused,
  kCancelled,
  kTweaked,
  kDrained,
  kShutdown,
  kSetAside,
};

// One execution of a trial by one worker. The head of attempt.cc has the table of its states.
struct Attempt {
  AttemptId id;
  JobId job;
  TrialId trial;
  int number = 0;  // within its trial, from 1
  bool finishing = false;
  AttemptState state = AttemptState::kQueued;
  Fencing fencing;             // zero while queued
  WorkerId worker;             // likewise
  HostName place;              // where it runs or ran
  Cause cause = Cause::kNone;  // kStopping: why it is to stop; later: why it ended
  std::string message;         // for people
  CheckpointId from;           // what it starts from, decided when it is given to a worker
  bool progressed = false;     // has committed a checkpoint beyond `from`
  int64_t pause_ms = 0;        // to wait before it is given to a worker
  int64_t from_step = 0;
  int64_t step = 0;  // as of the last report; `live` knows better
  int64_t started_wall_ms = 0;
  int64_t ended_wall_ms = 0;

  struct Live {
    int64_t not_before_ms = 0;                // kQueued: the pause is over
    std::set<HostName> avoid;                 // kQueued: where the trial's attempts failed lately
    std::map<HostName, std::string> refused;  // kQueued: where no worker can be had, and why
    int launches_failed = 0;                  // kQueued: in a row
    int64_t expires_ms = 0;                   // the lease
    int64_t stop_by_ms = 0;                   // kStopping: waited long enough
    int64_t step = 0;
    Phase phase = Phase::kLoading;
    int64_t progress_ms = 0;       // when step or phase last changed
    int64_t charged_ms = 0;        // training time is counted up to here
    int64_t training_ms = 0;       // not yet in Trial::training_ms
    std::vector<int64_t> step_us;  // the last few: microseconds a step took
    bool operator==(const Live&) const = default;
  } live;
  bool operator==(const Attempt&) const = default;

  bool ended() const { return state >= AttemptState::kCompleted; }
  bool held() const { return state > AttemptState::kQueued && !ended(); }
  Claim claim() const { return {worker, id, fencing}; }
};

enum class WorkerState {
  kIdle,
  kBusy,       // holds `attempt`
  kDismissed,  // told to leave; gets nothing more
  kGone,
};

// A process that trains, one attempt at a time.
struct Worker {
  WorkerId id;
  std::string incarnation;
  std::string name;
  std::string pool;
  LaunchId launch;  // none: started by somebody else
  std::string host;
  int pid = 0;
  std::string device;
  Abilities abilities;
  std::optional<Gpu> gpu;  // none: it trains on the CPU
  WorkerState state = WorkerState::kIdle;
  bool draining = false;
  AttemptId attempt;

  struct Live {
    bool connected = false;              // a session is open
    bool silent = false;                 // and yet a lease ran out; a sign of life ends it
    int64_t since_ms = 0;                // of `connected` or the last change of `state`
    std::optional<GpuUse> gpu_use = {};  // as of the last renewal
    bool operator==(const Live&) const = default;
  } live;
  bool operator==(const Worker&) const = default;
};

enum class LaunchState { kRequested, kLaunched, kStopping, kOver };

// A worker process that was asked for.
struct Launch {
  LaunchId id;
  SlotName slot;
  std::string runtime;
  AttemptId
      attempt;  // for which it was asked; where PoolSettings::one_attempt, all that it will run
  LaunchState state = LaunchState::kRequested;
  std::string handle;    // finds the process again
  WorkerId worker;       // once registered
  bool proven = false;   // its worker has run an attempt
  int64_t grace_ms = 0;  // kStopping
  std::string message;   // kOver: how it ended

  struct Live {
    int64_t register_by_ms = 0;
    bool operator==(const Live&) const = default;
  } live;
  bool operator==(const Launch&) const = default;
};

enum class CheckpointState { kSound, kBroken, kDropping, kDropped };

// Where a trial can be continued from. Committed only after its blob is durable.
struct Checkpoint {
  CheckpointId id;
  JobId job;
  TrialId trial;
  AttemptId attempt;
  std::string sha256;
  int64_t bytes = 0;
  int64_t step = 0;
  int epoch = 0;  // epochs completed
  bool end_of_epoch = false;
  std::optional<double> metric;  // the target's, of these very weights; none in mid-epoch or NaN
  CheckpointState state = CheckpointState::kSound;
  bool pinned = false;
  int64_t stored_wall_ms = 0;
  bool operator==(const Checkpoint&) const = default;
};

// One row of metrics. Superseded rows stay: they were true once.
struct Epoch {
  EpochKey key;
  JobId job;
  int64_t step = 0;
  Metrics metrics;
  double images_per_second = 0;
  double seconds = 0;
  bool exact = true;
  bool superseded = false;
  int64_t reported_wall_ms = 0;
  bool operator==(const Epoch&) const = default;
};

struct Notice {
  NoticeId id;
  JobId job;
  std::string text;
  bool sent = false;
  bool operator==(const Notice&) const = default;
};

// How a host does. Volatile, as a whole.
struct HostHealth {
  bool reachable = true;
  int launch_failures = 0;                          // in a row: launches that brought no worker
  int attempt_failures = 0;                         // in a row: attempts that died without progress
  std::set<TrialId> trials;                         // whose attempts those were
  int64_t not_before_ms = 0;                        // set aside until then
  std::string message;                              // why, for people
  std::map<int, int64_t> slots_not_before_ms = {};  // of single slots whose GPU was lost
  bool operator==(const HostHealth&) const = default;
};

// The last number drawn of each kind; one record.
struct Counters {
  int64_t project = 0;
  int64_t push = 0;
  int64_t job = 0;
  int64_t trial = 0;
  int64_t attempt = 0;
  int64_t worker = 0;
  int64_t launch = 0;
  int64_t checkpoint = 0;
  int64_t notice = 0;
  int64_t fencing = 0;
  int64_t cursor = 0;  // of history
  bool operator==(const Counters&) const = default;
};

// Where workers are launched. Not stored.
struct PoolSettings {
  std::string kind;  // "process", "docker", "slurm": for people
  // Of each host the slots, with what a worker there can do.
  std::map<std::string, std::vector<Abilities>> hosts;
  bool one_attempt = false;  // a worker runs the attempt that it was launched for, and no other
  bool queues = false;       // a launch may wait for long before it runs: LaunchStarted tells
  bool operator==(const PoolSettings&) const = default;
};

// From flags and the pools file, set by the shell before the first step; not stored.
struct Settings {
  int64_t lease_ms = 5'000;
  int64_t stop_grace_ms = 30'000;  // for a checkpoint on request
  int64_t register_ms = 60'000;    // from launch to registration
  int64_t stalled_ms = 60'000;     // no step for so long, and for `stalled_steps` median steps
  int64_t stalled_steps = 20;
  int64_t phase_limit_ms = 1'800'000;  // loading, evaluating and uploading take no longer
  int64_t gone_ms = 1'800'000;         // a worker that is not heard of for so long is gone
  int64_t idle_ms = 60'000;            // a launched worker without work is stopped
  int retries = 4;                     // per trial, and per job for its finishing attempts
  int64_t retry_pause_ms = 1'000;      // doubles with each failure in a row
  int64_t retry_pause_max_ms = 60'000;
  int launch_retries = 10;     // launches in a row that bring an attempt no worker
  int host_failures = 3;       // in a row, of more than one trial: the host is set aside
  int64_t aging_ms = 600'000;  // who waits so long goes up by one priority
  std::map<std::string, PoolSettings> pools;
  bool operator==(const Settings&) const = default;
};

struct State {
  Settings settings;
  Counters counters;
  std::map<ProjectId, Project> projects;
  std::map<PushId, Push> pushes;
  std::map<JobId, Job> jobs;
  std::map<TrialId, Trial> trials;
  std::map<AttemptId, Attempt> attempts;
  std::map<EpochKey, Epoch> epochs;
  std::map<CheckpointId, Checkpoint> checkpoints;
  std::map<WorkerId, Worker> workers;
  std::map<LaunchId, Launch> launches;
  std::map<NoticeId, Notice> notices;

  // Of every job that ever was: identity -> job, request_key -> job. Read from the jobs' rows.
  std::map<std::string, JobId> identities;
  std::map<std::string, JobId> request_keys;

  // Volatile.
  std::map<HostName, HostHealth> hosts;  // those that something happened to
  bool shutting_down = false;
  bool operator==(const State&) const = default;
};

// ---- What a step changed. ----

enum class HistoryKind {
  kPushSeen,
  kPushRefused,
  kJobCreated,
  kTrialStarted,
  kAttemptStarted,
  kEpoch,
  kCheckpoint,
  kAttemptLost,
  kAttemptRestarted,
  kTrialEnded,
  kDiagnosis,
  kTweak,
  kTargetMet,
  kFinishing,
  kModelPublished,
  kJobEnded,
  kWaiting,
  kNote,
  kAdjustment,
};

// One line of what happened, for watchers and for good. The cursor has no gaps.
struct HistoryRow {
  int64_t cursor = 0;
  int64_t wall_ms = 0;
  HistoryKind kind = HistoryKind::kNote;
  ProjectId project;
  JobId job;
  TrialId trial;
  AttemptId attempt;
  EpochKey epoch;    // kEpoch: the row
  std::string text;  // a sentence for people
  bool operator==(const HistoryRow&) const = default;
};

// What the store has to write, in one transaction. Ids name records in State to be inserted or
// replaced; nothing is ever deleted.
struct Changes {
  bool counters = false;
  std::set<ProjectId> projects;
  std::set<PushId> pushes;
  std::set<JobId> jobs;
  std::set<TrialId> trials;
  std::set<AttemptId> attempts;
  std::set<EpochKey> epochs;
  std::set<CheckpointId> checkpoints;
  std::set<WorkerId> workers;
  std::set<LaunchId> launches;
  std::set<NoticeId> notices;
  std::vector<HistoryRow> history;

  bool empty() const;
  // Takes over what a later step changed.
  void Add(Changes later);
};

// "queued", "lease expired", "push_seen", ...: as people and the API see them.
const char* Name(JobState state);
const char* Name(TrialState state);
const char* Name(AttemptState state);
const char* Name(WorkerState state);
const char* Name(LaunchState state);
const char* Name(CheckpointState state);
const char* Name(Cause cause);
const char* Name(HistoryKind kind);

}  // namespace trainyard::core
