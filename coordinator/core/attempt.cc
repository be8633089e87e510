// One execution of a trial by one worker.
//
//   state      what happens                                           next
//   ---------  -----------------------------------------------------  -----------------------------
//   queued     a worker is idle and the pause is over                 starting
//   starting   first renewal or report under its claim                running
//   running    pause, drain, tweak, shutdown                          stopping
//   starting,  worker: all epochs done, model made                    completed
//   running    worker: failed, diverged, out of memory, broken        failed
//              lease expired, stalled, worker exited, its GPU lost    lost
//              worker is preempted                                    stopped
//   stopping   worker: stopped, or any other end, or the time is up   stopped (completed, if it
//   was) any        nobody needs it any more: cancelled, target met, ...   stopped
//
// The trial then goes on as the cause demands (Follow, below). A retry is spent by an attempt that
// was not asked to stop and committed no checkpoint; one that did moved the trial forward, which
// ends by itself. So the retry budget only shrinks, and nothing runs forever. A lost GPU is taken
// for no fault of the trial and spends none either: the worker and its slot get nothing for a while
// instead. Lost twice in a row without a new checkpoint, it may well be the trial's: from the
// second on it is a failure like others.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/core/ranking.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

AttemptState EndState(Cause cause) {
  switch (cause) {
    case Cause::kEpochsDone:
    case Cause::kPublished:
      return AttemptState::kCompleted;
    case Cause::kDiverged:
    case Cause::kFailed:
    case Cause::kFailedFinally:
    case Cause::kOutOfMemory:
    case Cause::kCheckpointBroken:
      return AttemptState::kFailed;
    case Cause::kWorkerExited:
    case Cause::kLeaseExpired:
    case Cause::kStalled:
    case Cause::kDeviceLost:
      return AttemptState::kLost;
    default:
      return AttemptState::kStopped;
  }
}

// It died where it was, which may be the fault of the place.
bool DiedThere(const Attempt& attempt) {
  const bool died = attempt.cause == Cause::kFailed || attempt.cause == Cause::kWorkerExited ||
                    attempt.cause == Cause::kLeaseExpired || attempt.cause == Cause::kStalled;
  return attempt.ended() && died && !attempt.progressed;
}

// Where the trial's latest attempts died, one after the other: the next one had better be
// elsewhere.
std::set<HostName> PlacesToAvoid(const State& state, TrialId trial) {
  std::set<HostName> places;
  for (auto entry = state.attempts.rbegin(); entry != state.attempts.rend(); ++entry) {
    const Attempt& attempt = entry->second;
    if (attempt.trial != trial || !attempt.ended()) continue;
    if (attempt.cause == Cause::kDeviceLost) continue;  // nothing against the other GPUs there
    if (!DiedThere(attempt)) break;
    places.insert(attempt.place);
  }
  return places;
}

void NoteHowThePlaceDid(Turn& turn, const Attempt& attempt) {
  if (DiedThere(attempt)) {
    NoteAttemptFailure(turn, attempt.place, attempt.trial,
                       absl::StrCat(Name(attempt.cause), ": ", attempt.message));
  } else if (attempt.progressed || attempt.state == AttemptState::kCompleted) {
    NoteAttemptSuccess(turn, attempt.place);
  }
}

// Sets the attempt's end and frees its worker.
void End(Turn& turn, AttemptId id, Cause cause, const std::string& message) {
  ChargeTime(turn, id);
  Attempt& attempt = turn.Change(id);
  const WorkerId worker = attempt.held() ? attempt.worker : WorkerId{};
  attempt.state = EndState(cause);
  attempt.cause = cause;
  attempt.message = message;
  attempt.ended_wall_ms = turn.wall_ms;
  attempt.live = {};
  if (worker) FreeWorker(turn, worker);
}

// Rows that the next attempt will write again: what comes after its starting point.
void SupersedeRows(Turn& turn, TrialId trial, int after_epoch) {
  for (auto row = turn.state.epochs.lower_bound(EpochKey{trial, after_epoch + 1});
       row != turn.state.epochs.end() && row->first.trial == trial; ++row) {
    if (!row->second.superseded) turn.Change(row->first).superseded = true;
  }
}

// One more attempt at the same. The checkpoint that was to be published may have broken meanwhile:
// then it is the next best one's turn, or training goes on.
void Again(Turn& turn, const Attempt& attempt, int64_t pause_ms) {
  if (!attempt.finishing) {
    QueueAttempt(turn, attempt.trial, /*finishing=*/false, pause_ms);
    return;
  }
  const Job& job = turn.state.jobs.at(attempt.job);
  const Checkpoint* best = BestOfJob(turn.state, job);
  if (job.target_met && (best == nullptr || !Meets(job.request.target, *best->metric))) {
    return ResumeTrial(turn, attempt.trial);
  }
  if (best == nullptr) {
    return EndJob(turn, job.id, JobState::kFailed, "no checkpoint is left that could be published");
  }
  QueueAttempt(turn, best->trial, /*finishing=*/true, pause_ms);
}

// Again after a failure, as long as there are retries.
void Retry(Turn& turn, const Attempt& attempt) {
  Job& job = turn.Change(attempt.job);
  Trial& trial = turn.Change(attempt.trial);
  int& retries_left = attempt.finishing ? job.retries_left : trial.retries_left;
  if (attempt.progressed) {
    trial.failures = 0;
  } else if (retries_left == 0) {
    const std::string reason = absl::StrCat(
        "given up after ", turn.state.settings.retries + 1,
        " failures without progress; the last one: ", Name(attempt.cause), ": ", attempt.message);
    if (attempt.finishing) return EndJob(turn, job.id, JobState::kFailed, reason);
    EndTrial(turn, trial.id, TrialState::kFailed, reason);
    return DecideNext(turn, job.id, trial.id);
  } else {
    --retries_left;
    ++trial.failures;
  }
  // What moved forward may go on at once: it cannot do so for ever without ending.
  Again(turn, attempt, trial.failures > 0 ? GrowingPause(turn.state.settings, trial.failures) : 0);
}

// It ended where it was to halt, and not before its own end.
bool AtRung(const State& state, TrialId id) {
  const Trial& trial = state.trials.at(id);
  const bool ended = !trial.adjustments.empty() && trial.adjustments.back().stop;
  if (trial.until_epoch == 0 || ended || LiveEpochs(state, id) < trial.until_epoch) return false;
  const int all = trial.current().epochs();
  return all == 0 || trial.until_epoch < all;
}

// A person has decided what follows it, so it does not go on, however it came to its end.
bool Replaced(const State& state, const Attempt& attempt) {
  const std::optional<Proposal>& decided = state.jobs.at(attempt.job).decided;
  return !attempt.finishing && decided &&
         decided->tweak.base == state.trials.at(attempt.trial).number;
}

// What the end of an attempt means for its trial.
void Follow(Turn& turn, AttemptId id) {
  const Attempt attempt = turn.state.attempts.at(id);
  if (Replaced(turn.state, attempt)) {
    const bool diverged = attempt.cause == Cause::kDiverged;
    EndTrial(turn, attempt.trial, diverged ? TrialState::kDiverged : TrialState::kCompleted,
             attempt.message);
    return DecideNext(turn, attempt.job, attempt.trial);
  }
  switch (attempt.cause) {
    case Cause::kEpochsDone:
      if (AtRung(turn.state, attempt.trial)) {
        HaltTrial(turn, attempt.trial);
        return DecideNext(turn, attempt.job, attempt.trial);
      }
      DropOverdue(turn, attempt.trial, attempt.step);
      [[fallthrough]];
    case Cause::kTweaked:
      EndTrial(turn, attempt.trial, TrialState::kCompleted, attempt.message);
      return DecideNext(turn, attempt.job, attempt.trial);
    case Cause::kDiverged:
      if (Rewind(turn, attempt.trial)) return;
      EndTrial(turn, attempt.trial, TrialState::kDiverged, attempt.message);
      return DecideNext(turn, attempt.job, attempt.trial);
    case Cause::kFailedFinally:
    case Cause::kOutOfMemory:
      if (attempt.finishing) {
        return EndJob(turn, attempt.job, JobState::kFailed,
                      absl::StrCat("publishing failed: ", attempt.message));
      }
      EndTrial(turn, attempt.trial, TrialState::kFailed,
               absl::StrCat(Name(attempt.cause), ": ", attempt.message));
      return DecideNext(turn, attempt.job, attempt.trial);
    case Cause::kFailed:
    case Cause::kWorkerExited:
    case Cause::kLeaseExpired:
    case Cause::kStalled:
      return Retry(turn, attempt);
    case Cause::kDeviceLost:
      if (attempt.progressed || LostAgain(turn.state, attempt)) return Retry(turn, attempt);
      [[fallthrough]];
    default:
      return Again(turn, attempt, /*pause_ms=*/0);
  }
}

// An attempt that is to stop has stopped, however it came about, unless it was done before.
Cause Effective(const Attempt& attempt, Cause cause) {
  const bool stopping = attempt.state == AttemptState::kStopping;
  const bool decided = EndState(cause) == AttemptState::kCompleted || cause == Cause::kDiverged ||
                       cause == Cause::kFailedFinally || cause == Cause::kOutOfMemory ||
                       cause == Cause::kCheckpointBroken;
  return stopping && !decided ? attempt.cause : cause;
}

// Something stopped the one before; from a rung a trial just goes on.
bool Repeats(const State& state, const Attempt& attempt) {
  for (auto entry = state.attempts.rbegin(); entry != state.attempts.rend(); ++entry) {
    const Attempt& before = entry->second;
    if (before.trial != attempt.trial || before.number >= attempt.number) continue;
    return before.cause != Cause::kEpochsDone;
  }
  return false;
}

}  // namespace

bool LostAgain(const State& state, const Attempt& attempt) {
  if (attempt.progressed) return false;
  return std::any_of(state.attempts.begin(), state.attempts.end(), [&](const auto& entry) {
    const Attempt& before = entry.second;
    return before.trial == attempt.trial && before.number == attempt.number - 1 &&
           before.cause == Cause::kDeviceLost && !before.progressed;
  });
}

AttemptId QueueAttempt(Turn& turn, TrialId trial_id, bool finishing, int64_t pause_ms) {
  Attempt& attempt = turn.Add(turn.state.attempts, &Counters::attempt);
  Trial& trial = turn.Change(trial_id);
  trial.attempt = attempt.id;
  attempt.job = trial.job;
  attempt.trial = trial_id;
  attempt.number = ++trial.attempts;
  attempt.finishing = finishing;
  attempt.pause_ms = pause_ms;
  attempt.live.not_before_ms = turn.now_ms + pause_ms;
  if (attempt.number > 1) attempt.live.avoid = PlacesToAvoid(turn.state, trial_id);
  return attempt.id;
}

void GiveAttempt(Turn& turn, AttemptId id, WorkerId worker_id) {
  Attempt& attempt = turn.Change(id);
  Trial& trial = turn.Change(attempt.trial);
  const Job& job = turn.state.jobs.at(attempt.job);
  const Checkpoint* from =
      attempt.finishing ? BestOfJob(turn.state, job) : RestorePoint(turn.state, trial);
  const bool continues = from != nullptr && from->trial == trial.id;

  Worker& worker = turn.Change(worker_id);
  attempt.place = PlaceOf(turn.state, worker);
  worker.state = WorkerState::kBusy;
  worker.attempt = id;
  worker.live.since_ms = turn.now_ms;

  attempt.state = AttemptState::kStarting;
  attempt.fencing = Fencing{turn.Draw(&Counters::fencing)};
  attempt.worker = worker_id;
  attempt.from = from != nullptr ? from->id : CheckpointId{};
  attempt.from_step = continues ? from->step : 0;
  attempt.step = attempt.from_step;
  attempt.started_wall_ms = turn.wall_ms;
  attempt.live = {.expires_ms = turn.now_ms + turn.state.settings.lease_ms,
                  .step = attempt.from_step,
                  .progress_ms = turn.now_ms,
                  .charged_ms = turn.now_ms};
  if (!attempt.finishing) {
    SupersedeRows(turn, trial.id, continues ? from->epoch : 0);
    SettleAtStart(turn, trial.id, attempt.from_step);
  }
  if (trial.state == TrialState::kQueued) trial.state = TrialState::kRunning;
  if (job.state == JobState::kQueued) turn.Change(job.id).state = JobState::kRunning;

  const bool again = !attempt.finishing && Repeats(turn.state, attempt);
  const std::string where = continues         ? absl::StrCat(" from step ", from->step)
                            : from != nullptr ? " with the weights of an earlier trial"
                                              : " from the start";
  turn.Tell({.kind = again ? HistoryKind::kAttemptRestarted : HistoryKind::kAttemptStarted,
             .job = attempt.job,
             .trial = attempt.trial,
             .attempt = id,
             .text = absl::StrCat("attempt ", attempt.number, " of trial ", trial.number, " on ",
                                  worker.name, attempt.finishing ? " publishes" : where)});
  SendStart(turn, attempt);
}

void SendStart(Turn& turn, const Attempt& attempt) {
  StartAttempt start{.claim = attempt.claim(),
                     .job = attempt.job,
                     .trial = attempt.trial,
                     .finishing = attempt.finishing,
                     .lease_ms = turn.state.settings.lease_ms};
  if (attempt.from) {
    const Checkpoint& from = turn.state.checkpoints.at(attempt.from);
    start.checkpoint_sha256 = from.sha256;
    start.restore = attempt.finishing             ? Restore::kFinish
                    : from.trial == attempt.trial ? Restore::kContinue
                                                  : Restore::kInherit;
  }
  turn.Do(std::move(start));
}

void SendStop(Turn& turn, const Attempt& attempt) {
  turn.Do(StopAttempt{.claim = attempt.claim(),
                      .checkpoint = !attempt.finishing,
                      .grace_ms = turn.state.settings.stop_grace_ms,
                      .reason = attempt.message});
}

void StopAttemptFor(Turn& turn, AttemptId id, Cause cause, std::string reason) {
  const Attempt& current = turn.state.attempts.at(id);
  if (current.ended()) return;
  if (!current.held()) {
    // Nothing runs. Only a tweak has a consequence: the trial is over.
    if (cause == Cause::kTweaked) FinishAttempt(turn, id, cause, std::move(reason));
    return;
  }
  Attempt& attempt = turn.Change(id);
  if (attempt.state == AttemptState::kStopping) {
    if (cause == Cause::kTweaked) attempt.cause = cause;
    return;
  }
  attempt.state = AttemptState::kStopping;
  attempt.cause = cause;
  attempt.message = std::move(reason);
  attempt.live.stop_by_ms =
      turn.now_ms + turn.state.settings.stop_grace_ms + turn.state.settings.lease_ms;
  SendStop(turn, attempt);
}

void FinishAttempt(Turn& turn, AttemptId id, Cause cause, std::string message) {
  const Attempt& attempt = turn.state.attempts.at(id);
  if (attempt.ended()) return;
  const Cause effective = Effective(attempt, cause);
  if (effective != cause) message = attempt.message;
  const bool ran = attempt.held();
  End(turn, id, effective, message);
  if (ran) NoteHowThePlaceDid(turn, attempt);
  const AttemptState end = EndState(effective);
  if (end == AttemptState::kLost || (end == AttemptState::kFailed && cause != Cause::kDiverged)) {
    turn.Tell({.kind = HistoryKind::kAttemptLost,
               .job = attempt.job,
               .trial = attempt.trial,
               .attempt = id,
               .text = absl::StrCat("attempt ", attempt.number, " ended: ", Name(effective), ": ",
                                    message)});
  }
  Follow(turn, id);
}

void DropAttempt(Turn& turn, AttemptId id, Cause cause, std::string message) {
  const Attempt& attempt = turn.state.attempts.at(id);
  if (attempt.ended()) return;
  if (attempt.held() && cause != Cause::kPublished) {
    turn.Do(SupersedeAttempt{attempt.claim(), message});
  }
  End(turn, id, cause, message);
}

const Attempt* Held(const State& state, const Claim& claim) {
  const auto found = state.attempts.find(claim.attempt);
  if (found == state.attempts.end()) return nullptr;
  const Attempt& attempt = found->second;
  return attempt.held() && attempt.claim() == claim ? &attempt : nullptr;
}

const Attempt* Admit(Turn& turn, const Claim& claim) {
  const Attempt* attempt = Held(turn.state, claim);
  if (attempt == nullptr) {
    turn.Do(SupersedeAttempt{claim, "the attempt was given away or is over"});
    return nullptr;
  }
  Renew(turn, attempt->id);
  return attempt;
}

void Renew(Turn& turn, AttemptId id) {
  Attempt& attempt = turn.state.attempts.at(id);
  turn.state.workers.at(attempt.worker).live.silent = false;
  attempt.live.expires_ms = turn.now_ms + turn.state.settings.lease_ms;
  attempt.live.training_ms += turn.now_ms - attempt.live.charged_ms;
  attempt.live.charged_ms = turn.now_ms;
  if (attempt.state != AttemptState::kStarting) return;
  turn.Change(id).state = AttemptState::kRunning;
  ProveLaunch(turn, attempt.worker);
}

void ChargeTime(Turn& turn, AttemptId id) {
  Attempt& attempt = turn.state.attempts.at(id);
  if (attempt.live.training_ms == 0) return;
  turn.Change(attempt.trial).training_ms += attempt.live.training_ms;
  attempt.live.training_ms = 0;
}

}  // namespace trainyard::core
