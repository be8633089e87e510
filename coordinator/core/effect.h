// Everything to be done. The shell performs effects in order, after the step that asked for them is
// committed, and decides nothing.
//
// Performing an effect twice must be harmless: after a crash, CoordinatorRecovered returns every
// effect again that its event did not confirm. Effects to a worker without an open session are
// dropped; they come again when it connects or renews.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "coordinator/core/ids.h"

namespace trainyard::core {

// ---- To whoever asked. Not repeated after a crash: the caller asks again. ----

struct Answer {
  RequestId request;
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string message;   // why not, or what comes of it, for people
  int64_t id = 0;        // of the project, job or worker that was made or meant
  bool existed = false;  // JobSubmitted: the same request was known already
  bool operator==(const Answer&) const = default;
};

// ---- Source. ----

// Fetch this commit, read and check its spec, detect its runtime, store the snapshot.
// Confirmed by SourcePrepared or SourceRefused.
struct PrepareSource {
  PushId push;
  ProjectId project;
  std::string commit;
  bool operator==(const PrepareSource&) const = default;
};

// ---- Where workers come from. ----

// Start a worker in this slot with TRAINYARD_LAUNCH=launch; one that was started under this number
// before is kept. Confirmed by WorkerLaunched or WorkerLaunchFailed.
struct LaunchWorker {
  LaunchId launch;
  SlotName slot;
  std::string runtime;
  bool operator==(const LaunchWorker&) const = default;
};

// After a restart: find the process again and watch it. Gone: WorkerExited.
struct AdoptWorker {
  LaunchId launch;
  SlotName slot;
  std::string handle;
  bool operator==(const AdoptWorker&) const = default;
};

// End the process: politely with a grace time, or at once with 0. Confirmed by WorkerExited.
struct StopWorker {
  LaunchId launch;
  SlotName slot;
  std::string handle;
  int64_t grace_ms = 0;
  bool operator==(const StopWorker&) const = default;
};

// After a restart, behind all that is to be launched or adopted: what else runs under this
// coordinator's name is nobody's, and is ended. Not confirmed.
struct RemoveStrays {
  bool operator==(const RemoveStrays&) const = default;
};

// ---- To workers, over their session. ----

// What the checkpoint in StartAttempt is for.
enum class Restore {
  kNothing,   // start from fresh weights
  kContinue,  // this trial's own: continue bit for bit
  kInherit,   // another trial's: take over the weights that fit, grow the rest, start at step 0
  kFinish,    // test, export and publish exactly these weights
};

// Job, trial and attempt are in State; the assignment is made from JobRequest::spec_blob and the
// trial's configuration. Confirmed by the first renewal or report with this claim; until then it
// may come again, and a worker that holds the claim already ignores it.
struct StartAttempt {
  Claim claim;
  JobId job;
  TrialId trial;
  bool finishing = false;
  Restore restore = Restore::kNothing;
  std::string checkpoint_sha256;
  int64_t lease_ms = 0;
  bool operator==(const StartAttempt&) const = default;
};

// Change the attempt while it trains: the trial's adjustment of this number, from 1, is in State.
// Confirmed by AdjustmentAnswered.
struct AdjustAttempt {
  Claim claim;
  TrialId trial;
  int number = 0;
  bool operator==(const AdjustAttempt&) const = default;
};

// Confirmed by AttemptEnded, or by the attempt's end for another reason.
struct StopAttempt {
  Claim claim;
  bool checkpoint = false;  // store one first
  int64_t grace_ms = 0;
  std::string reason;
  bool operator==(const StopAttempt&) const = default;
};

// The claim is worth nothing any more: drop it at once and report nothing more of it.
struct SupersedeAttempt {
  Claim claim;
  std::string reason;
  bool operator==(const SupersedeAttempt&) const = default;
};

// The lease holds for lease_ms from now.
struct GrantLease {
  Claim claim;
  int64_t lease_ms = 0;
  bool operator==(const GrantLease&) const = default;
};

// The report with this sequence number is committed.
struct Acknowledge {
  Claim claim;
  int64_t sequence = 0;
  bool operator==(const Acknowledge&) const = default;
};

// Take nothing more and exit; for workers that nobody of ours launched too.
struct DismissWorker {
  WorkerId worker;
  std::string reason;
  bool operator==(const DismissWorker&) const = default;
};

// ---- Records. ----

// Delete the blob, unless a committed checkpoint that is kSound, in whatever job, or an upload that
// no event tells of yet has the same hash. Confirmed by CheckpointDropped, in either case.
struct DropCheckpoint {
  CheckpointId checkpoint;
  std::string sha256;
  bool operator==(const DropCheckpoint&) const = default;
};

// ---- People. ----

// Tell whoever wants to know (webhook, mail, commit status) how the job ended.
// Confirmed by NoticeSent, also where nobody wants to know.
struct Notify {
  NoticeId notice;
  JobId job;
  std::string text;
  bool operator==(const Notify&) const = default;
};

// ShutdownRequested is done: nothing runs any more.
struct Quit {
  bool operator==(const Quit&) const = default;
};

using Effect =
    std::variant<Answer, PrepareSource, LaunchWorker, AdoptWorker, StopWorker, RemoveStrays,
                 StartAttempt, AdjustAttempt, StopAttempt, SupersedeAttempt, GrantLease,
                 Acknowledge, DismissWorker, DropCheckpoint, Notify, Quit>;

}  // namespace trainyard::core
