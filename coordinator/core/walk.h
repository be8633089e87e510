// The steps of the walk from a push to the best model, one file each, and how they call each other.
// Everything here is private to coordinator/core; the outside calls Step.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/core/turn.h"

namespace trainyard::core {

// ---- One handler for each event, beside what it is about. ----

void On(Turn& turn, const ProjectAdded& event);
void On(Turn& turn, const ProjectRemoved& event);
void On(Turn& turn, const PushSeen& event);
void On(Turn& turn, const SourcePrepared& event);
void On(Turn& turn, const SourceRefused& event);

void On(Turn& turn, const JobSubmitted& event);
void On(Turn& turn, const JobCancelled& event);
void On(Turn& turn, const JobConcluded& event);
void On(Turn& turn, const JobPaused& event);
void On(Turn& turn, const JobResumed& event);
void On(Turn& turn, const TweakRequested& event);

void On(Turn& turn, const WorkerRegistered& event);
void On(Turn& turn, const WorkerConnected& event);
void On(Turn& turn, const WorkerDisconnected& event);
void On(Turn& turn, const WorkerDrained& event);
void On(Turn& turn, const WorkerLeft& event);

void On(Turn& turn, const WorkerLaunched& event);
void On(Turn& turn, const WorkerLaunchFailed& event);
void On(Turn& turn, const LaunchStarted& event);
void On(Turn& turn, const WorkerExited& event);

void On(Turn& turn, const HostLost& event);
void On(Turn& turn, const HostFound& event);

void On(Turn& turn, const LeaseRenewed& event);
void On(Turn& turn, const EpochReported& event);
void On(Turn& turn, const CheckpointStored& event);
void On(Turn& turn, const AdjustmentAnswered& event);
void On(Turn& turn, const AttemptEnded& event);
void On(Turn& turn, const ProgramReported& event);
void On(Turn& turn, const ModelFinished& event);

void On(Turn& turn, const CheckpointPinned& event);
void On(Turn& turn, const CheckpointBroken& event);
void On(Turn& turn, const CheckpointDropped& event);
void On(Turn& turn, const NoticeSent& event);

void On(Turn& turn, const TimePassed& event);
void On(Turn& turn, const CoordinatorRecovered& event);
void On(Turn& turn, const ShutdownRequested& event);

// ---- report.cc ----

// "train.lr 0.1 -> 0.05", for absl::StrJoin.
void ChangeText(std::string* out, const Change& change);

// ---- job.cc ----

// The job that people mean, or nullptr after telling them that there is none to be changed.
const Job* FindJob(Turn& turn, RequestId request, JobId job);

// The job of this request: the same one as before, or a new one with its first trial queued.
struct Created {
  JobId job;
  bool existed = false;
};
Created CreateJob(Turn& turn, const JobRequest& request);

// Training is over. The best checkpoint goes to a finishing attempt; without one the job fails.
void FinishJob(Turn& turn, JobId job, bool target_met, std::string reason);

// Final. Whatever of the job still runs is superseded.
void EndJob(Turn& turn, JobId job, JobState state, std::string reason);

// A record of the job makes no sense: it fails with the cause, and nothing else is touched.
void SetAside(Turn& turn, JobId job, const std::string& violation);

// ---- next.cc ----

// A trial of the job has ended or halted: what a person decided, what the tuner wants to start or
// to go on, waiting, or the end.
void DecideNext(Turn& turn, JobId job, TrialId last);

// Starts what else may run beside what runs, where the job allows trials in parallel.
void FillUp(Turn& turn, JobId job, TrialId last);

// "best val_accuracy 0.8810 misses val_accuracy >= 0.92 by 0.0390: tuning is off; next it would
// try: ...".
std::string MissedText(const State& state, const Job& job, const std::string& why);

// ---- trial.cc ----

struct TrialStart {
  network::Configuration configuration;
  std::optional<Tweak> tweak = std::nullopt;
  CheckpointId inherits = {};
  int until_epoch = 0;
};
TrialId StartTrial(Turn& turn, JobId job, TrialStart start);
void EndTrial(Turn& turn, TrialId trial, TrialState state, std::string reason);

// All that have not ended, as completed.
void EndTrials(Turn& turn, JobId job, const std::string& reason);

// Its attempt has done the epochs of its rung: it waits to be promoted.
void HaltTrial(Turn& turn, TrialId trial);

// A halted trial goes on, up to this epoch; 0: its last.
void PromoteTrial(Turn& turn, TrialId trial, int until_epoch);

// A sound checkpoint of the trial meets the target: training stops, publishing starts.
void MeetTarget(Turn& turn, TrialId trial, CheckpointId checkpoint);

// Publishing cannot go on, because the checkpoint that met the target broke: training does.
void ResumeTrial(Turn& turn, TrialId trial);

// ---- attempt.cc ----

// The attempt has lost its GPU, and so had the trial's one before; neither stored a checkpoint.
bool LostAgain(const State& state, const Attempt& attempt);

AttemptId QueueAttempt(Turn& turn, TrialId trial, bool finishing, int64_t pause_ms);

// Gives a queued attempt to an idle worker, under a new fencing number.
void GiveAttempt(Turn& turn, AttemptId attempt, WorkerId worker);

// Asks for a checkpoint and a stop. A queued attempt just ends; one that stops already keeps its
// first reason, unless the new one ends the trial.
void StopAttemptFor(Turn& turn, AttemptId attempt, Cause cause, std::string reason);

// The attempt is over, and its trial goes on as the cause demands: again, finished, or given up.
void FinishAttempt(Turn& turn, AttemptId attempt, Cause cause, std::string message);

// The attempt is over and nothing follows from it; a worker that holds it is told.
void DropAttempt(Turn& turn, AttemptId attempt, Cause cause, std::string message);

// The attempt that this claim holds, or nullptr: it was given away, has ended or never was.
const Attempt* Held(const State& state, const Claim& claim);

// Held, and whoever claims in vain is told so.
const Attempt* Admit(Turn& turn, const Claim& claim);

// A sign of life of a held attempt: the lease starts again, and it runs if it was starting.
void Renew(Turn& turn, AttemptId attempt);

void SendStart(Turn& turn, const Attempt& attempt);
void SendStop(Turn& turn, const Attempt& attempt);

// Training time so far goes from the attempt's live part to its trial.
void ChargeTime(Turn& turn, AttemptId attempt);

// ---- adjustment.cc ----

// A change of the trial is committed and no worker is bound to it yet.
bool Unsettled(const Trial& trial);

// Commits the change, of a trial that is going and has no unsettled one, and tells its worker. A
// step of 0: as soon as may be. Returns when it takes effect, for people.
std::string AdjustTrial(Turn& turn, TrialId trial, Adjustment adjustment);

// Tells the worker of the unsettled change, if there is one and there is a worker.
void SendAdjustment(Turn& turn, const Trial& trial);

// The attempt that starts at this step gets the whole list, and is bound to it.
void SettleAtStart(Turn& turn, TrialId trial, int64_t from_step);

// A report tells which changes its weights were trained with, up to `step`: a change that is not
// among them comes later. False: it knows of more than there are.
bool SettleFromReport(Turn& turn, TrialId trial, const std::vector<int64_t>& adjusted_at,
                      int64_t step);

// The trial has ended without its last change, which is told and taken out.
void DropLastChange(Turn& turn, TrialId trial);

// The trial has ended after so many steps: what was to change later never will.
void DropOverdue(Turn& turn, TrialId trial, int64_t step);

// After an epoch: does the tuner want to change or end the trial as it runs?
void WatchTrial(Turn& turn, const Epoch& row);

// The loss is no number any more: back to the best checkpoint with what the tuner says. False: it
// says nothing, and the trial is over.
bool Rewind(Turn& turn, TrialId trial);

// ---- supervision.cc ----

// Microseconds; 0: none was measured.
int64_t MedianStepUs(std::vector<int64_t> step_us);

// A step or phase was told; notes progress and how long a step takes.
void NoteProgress(Turn& turn, AttemptId attempt, int64_t step, Phase phase);

// Leases, stalled attempts, budgets of time.
void Supervise(Turn& turn);

// ---- recovery.cc ----

// While shutting down: idle workers go, and when nothing is left, Quit.
void ContinueShutdown(Turn& turn);

// ---- placement.cc ----

// Gives what is queued to who is idle, launches workers for the rest, and ends those that are
// nobody's.
void Place(Turn& turn);

// Whether something that can do this, in this pool, may run the attempt.
bool Fits(const State& state, const Attempt& attempt, const std::string& pool,
          const Abilities& can);

// On a GPU, bytes: what the spec says, else what the network is planned to take.
int64_t MemoryNeeded(const State& state, const Attempt& attempt);

// Of its kind of pool, where a worker may run no attempt but the one that it was launched for.
bool OneAttempt(const State& state, const Launch& launch);

// Where the worker came from.
HostName PlaceOf(const State& state, const Worker& worker);

// Of a slot that the settings have, else nullptr.
const Abilities* AbilitiesOf(const State& state, const SlotName& slot);

// ---- hosts.cc ----

// To be waited after so many failures in a row.
int64_t GrowingPause(const Settings& settings, int failures);

// "pool process", "host gpu1 of pool gpu".
std::string Describe(const HostName& name);

// Reachable and not set aside.
bool Usable(const State& state, const HostName& name, int64_t now_ms);
bool SlotUsable(const State& state, const SlotName& slot, int64_t now_ms);  // for its GPU's sake

// Its GPU is lost or cannot be had: the worker gets nothing more, nor does its slot for a while.
void GiveUpDevice(Turn& turn, WorkerId id, const std::string& why);

void NoteLaunchFailure(Turn& turn, const HostName& name, const std::string& message);
void NoteLaunchSuccess(Turn& turn, const HostName& name);
void NoteAttemptFailure(Turn& turn, const HostName& name, TrialId trial,
                        const std::string& message);
void NoteAttemptSuccess(Turn& turn, const HostName& name);

// ---- worker.cc, launch.cc ----

void FreeWorker(Turn& turn, WorkerId worker);

// An idle worker is of no use any more: told to leave, and its process, if ours, ended.
void RemoveWorker(Turn& turn, WorkerId worker, const std::string& reason, int64_t grace_ms);

// Its process is no more.
void LoseWorker(Turn& turn, WorkerId worker, const WorkerExited& exit);

void RequestLaunch(Turn& turn, const SlotName& slot, AttemptId attempt);

// When a launch must have brought a worker, if it has not run until now.
int64_t RegisterBy(const State& state, const Launch& launch, int64_t now_ms);
void StopLaunch(Turn& turn, LaunchId launch, int64_t grace_ms);
void SuperviseWorkers(Turn& turn);
void SuperviseLaunches(Turn& turn);

// The worker runs an attempt: launching where it came from works.
void ProveLaunch(Turn& turn, WorkerId worker);

// ---- retention.cc ----

// Keeps the last two checkpoints of each running trial, the best of every trial, pinned ones and
// those that something starts from; the rest is dropped.
void DropCheckpoints(Turn& turn, JobId job);

}  // namespace trainyard::core
