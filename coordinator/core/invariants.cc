#include "coordinator/core/invariants.h"

#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

using Violations = std::vector<std::string>;

template <typename... Parts>
void Require(Violations& violations, bool holds, const Parts&... parts) {
  if (!holds) violations.push_back(absl::StrCat(parts...));
}

template <typename Key, typename Record>
const Record* Find(const std::map<Key, Record>& records, Key id) {
  const auto found = records.find(id);
  return found == records.end() ? nullptr : &found->second;
}

// Neither gone nor going: somebody may still read it.
bool Readable(const State& state, CheckpointId id) {
  const Checkpoint* checkpoint = Find(state.checkpoints, id);
  return checkpoint != nullptr && (checkpoint->state == CheckpointState::kSound ||
                                   checkpoint->state == CheckpointState::kBroken);
}

void CheckTrial(const State& state, const Job& job, const Trial& trial, Violations& violations) {
  const std::string who = absl::StrCat("trial ", trial.id.value, ": ");
  const Attempt* attempt = Find(state.attempts, trial.attempt);
  Require(violations, trial.job == job.id, who, "belongs to job ", trial.job.value);
  Require(violations, trial.retries_left >= 0, who, "has ", trial.retries_left, " retries left");
  Require(violations, attempt != nullptr && attempt->trial == trial.id, who,
          "its attempt is missing or another trial's");
  if (attempt == nullptr) return;
  if (trial.state == TrialState::kHalted) {
    Require(violations, attempt->ended(), who, "has halted and still trains");
    Require(violations, trial.until_epoch > 0, who, "has halted without a rung");
  } else if (!trial.ended()) {
    Require(violations, !attempt->ended(), who, "goes on without an attempt");
    Require(violations, attempt->finishing == (trial.state == TrialState::kFinishing), who,
            "its attempt is of the wrong kind");
    Require(violations, !trial.inherits || Readable(state, trial.inherits), who,
            "the checkpoint it inherits is gone");
  } else {
    Require(violations, attempt->ended() || attempt->finishing, who, "has ended and still trains");
  }
  int64_t step = 0;
  for (const Adjustment& adjustment : trial.adjustments) {
    const bool last = &adjustment == &trial.adjustments.back();
    Require(violations, adjustment.step >= step, who, "its adjustments are out of order");
    Require(violations, adjustment.settled || last, who, "an adjustment was left unsettled");
    step = adjustment.step;
  }
}

void CheckRows(const State& state, TrialId trial, Violations& violations) {
  int live = 0;
  for (auto row = state.epochs.lower_bound(EpochKey{trial});
       row != state.epochs.end() && row->first.trial == trial; ++row) {
    if (row->second.superseded) continue;
    Require(violations, row->first.epoch == live + 1, "trial ", trial.value, ": live row of epoch ",
            row->first.epoch, " after epoch ", live);
    live = row->first.epoch;
  }
  for (const auto& [id, checkpoint] : state.checkpoints) {
    if (checkpoint.trial != trial || checkpoint.state != CheckpointState::kSound) continue;
    Require(violations, checkpoint.epoch <= live, "checkpoint ", id.value, ": at epoch ",
            checkpoint.epoch, ", rows end at ", live);
  }
}

void CheckAttempts(const State& state, const Job& job, Violations& violations) {
  int going = 0;
  for (const auto& [id, attempt] : state.attempts) {
    if (attempt.job != job.id || attempt.ended()) continue;
    ++going;
    const std::string who = absl::StrCat("attempt ", id.value, ": ");
    const Trial* trial = Find(state.trials, attempt.trial);
    Require(violations, trial != nullptr && trial->attempt == id, who, "is not its trial's");
    Require(violations, attempt.held() == static_cast<bool>(attempt.fencing), who,
            "fencing and state disagree");
    Require(violations, attempt.held() == static_cast<bool>(attempt.worker), who,
            "worker and state disagree");
    Require(violations, !attempt.held() || !attempt.from || Readable(state, attempt.from), who,
            "the checkpoint it starts from is gone");
  }
  const bool one = job.state == JobState::kFinishing;
  const bool some = job.state == JobState::kQueued || job.state == JobState::kRunning;
  const bool right = one ? going == 1 : some ? going >= 1 : going == 0;
  Require(violations, right, "job ", job.id.value, ": ", Name(job.state), " with ", going,
          " attempts going on");
}

template <typename Record>
Record Durable(Record record) {
  if constexpr (requires { record.live; }) record.live = {};
  return record;
}

// Whatever the store holds and a step changed stands in its changes, and nothing disappears.
template <typename Key, typename Record>
void CheckNoted(const char* kind, const std::map<Key, Record>& before,
                const std::map<Key, Record>& after, const std::set<Key>& changed,
                Violations& violations) {
  for (const auto& [id, record] : before) {
    Require(violations, after.count(id) > 0, kind, ": a record disappeared");
  }
  for (const auto& [id, record] : after) {
    if (changed.count(id) > 0) continue;
    const Record* old = Find(before, id);
    Require(violations, old != nullptr && Durable(*old) == Durable(record), kind,
            ": a record changed and is not to be written");
  }
}

// What a worker is bound to stays as it is, unless the trial goes back to before it, or ends
// before.
void CheckSettled(const Trial& before, const Trial& after, Violations& violations) {
  if (after.rewinds > before.rewinds || after.ended()) return;
  for (size_t i = 0; i < before.adjustments.size(); ++i) {
    if (!before.adjustments[i].settled) continue;
    Require(violations,
            i < after.adjustments.size() && after.adjustments[i] == before.adjustments[i], "trial ",
            before.id.value, ": a settled adjustment changed");
  }
}

void CheckFinal(const State& before, const State& after, Violations& violations) {
  for (const auto& [id, job] : before.jobs) {
    const Job* now = Find(after.jobs, id);
    if (now == nullptr) continue;
    Require(violations, !job.ended() || *now == job, "job ", id.value, ": changed after its end");
    Require(violations, now->retries_left <= job.retries_left, "job ", id.value, ": retries grew");
    Require(violations, now->request == job.request, "job ", id.value, ": its request changed");
  }
  for (const auto& [id, trial] : before.trials) {
    const Trial* now = Find(after.trials, id);
    if (now == nullptr) continue;
    Require(violations, !trial.ended() || now->state == trial.state, "trial ", id.value,
            ": changed after its end");
    Require(violations, now->retries_left <= trial.retries_left, "trial ", id.value,
            ": retries grew");
    Require(violations, now->configuration == trial.configuration, "trial ", id.value,
            ": its configuration changed");
    CheckSettled(trial, *now, violations);
  }
  for (const auto& [id, attempt] : before.attempts) {
    const Attempt* now = Find(after.attempts, id);
    if (now == nullptr) continue;
    Require(violations, !attempt.ended() || Durable(*now) == Durable(attempt), "attempt ", id.value,
            ": changed after its end");
    Require(violations, !attempt.held() || now->claim() == attempt.claim(), "attempt ", id.value,
            ": was given to two");
  }
}

// A worker that is to leave gets nothing new; one that lost its GPU is to, which costs
// the trial nothing unless it happens again before it got further.
void CheckLeaving(const State& before, const State& after, Violations& violations) {
  for (const auto& [id, attempt] : after.attempts) {
    const Attempt* old = Find(before.attempts, id);
    const Worker* worker = Find(after.workers, attempt.worker);
    const bool given = attempt.held() && (old == nullptr || !old->held());
    Require(violations, !given || worker == nullptr || !worker->draining, "attempt ", id.value,
            ": given to worker ", attempt.worker.value, ", which is to leave");
    if (attempt.cause != Cause::kDeviceLost || !attempt.ended()) continue;
    Require(violations, worker == nullptr || worker->draining, "worker ", attempt.worker.value,
            ": lost its GPU and is not to leave");
    if (old == nullptr || old->ended() || LostAgain(after, attempt)) continue;
    Require(violations,
            after.trials.at(attempt.trial).retries_left ==
                    before.trials.at(attempt.trial).retries_left &&
                after.jobs.at(attempt.job).retries_left == before.jobs.at(attempt.job).retries_left,
            "attempt ", id.value, ": a lost GPU cost a retry");
  }
}

void CheckEpochs(const State& before, const State& after, Violations& violations) {
  std::set<TrialId> given;
  for (const auto& [id, attempt] : after.attempts) {
    const Attempt* old = Find(before.attempts, id);
    if (attempt.held() && (old == nullptr || !old->held())) given.insert(attempt.trial);
  }
  for (const auto& [key, row] : before.epochs) {
    const Epoch* now = Find(after.epochs, key);
    if (now == nullptr) continue;
    Require(violations, now->metrics == row.metrics && now->step == row.step, "trial ",
            key.trial.value, " epoch ", key.epoch, ": its row changed");
    Require(violations, row.superseded <= now->superseded, "trial ", key.trial.value, " epoch ",
            key.epoch, ": a superseded row came back");
    Require(violations, row.superseded == now->superseded || given.count(key.trial) > 0, "trial ",
            key.trial.value, " epoch ", key.epoch, ": superseded by no new attempt");
  }
  for (const auto& [id, checkpoint] : before.checkpoints) {
    const Checkpoint* now = Find(after.checkpoints, id);
    Require(violations, now == nullptr || now->state >= checkpoint.state, "checkpoint ", id.value,
            ": came back");
  }
}

void CheckCounters(const State& before, const State& after, const Result& result,
                   Violations& violations) {
  const Counters& a = before.counters;
  const Counters& b = after.counters;
  Require(violations,
          a.project <= b.project && a.push <= b.push && a.job <= b.job && a.trial <= b.trial &&
              a.attempt <= b.attempt && a.worker <= b.worker && a.launch <= b.launch &&
              a.checkpoint <= b.checkpoint && a.notice <= b.notice && a.fencing <= b.fencing,
          "a counter went back");
  Require(violations, a == b || result.changes.counters, "counters are not to be written");
  int64_t cursor = a.cursor;
  for (const HistoryRow& row : result.changes.history) {
    Require(violations, row.cursor == cursor + 1, "history: line ", row.cursor, " after ", cursor);
    cursor = row.cursor;
  }
  Require(violations, cursor == b.cursor, "history ends at ", cursor, ", the counter at ",
          b.cursor);
}

}  // namespace

Violations CheckJob(const State& state, const Job& job) {
  Violations violations;
  const std::string who = absl::StrCat("job ", job.id.value, ": ");
  Require(violations, !job.trials.empty(), who, "has no trial");
  Require(violations, job.retries_left >= 0, who, "has ", job.retries_left, " retries left");
  Require(violations,
          !job.best || Find(state.checkpoints, job.best) == nullptr || Readable(state, job.best),
          who, "its best checkpoint is gone");
  int number = 0;
  for (const TrialId id : job.trials) {
    const Trial* trial = Find(state.trials, id);
    Require(violations, trial != nullptr, who, "trial ", id.value, " is missing");
    if (trial == nullptr) continue;
    Require(violations, trial->number == ++number, who, "trial ", id.value, " has number ",
            trial->number);
    Require(violations, trial->ended() || !job.ended(), who, "has ended, its trial goes on");
    CheckTrial(state, job, *trial, violations);
    CheckRows(state, id, violations);
  }
  CheckAttempts(state, job, violations);
  return violations;
}

Violations CheckState(const State& state) {
  Violations violations;
  for (const auto& [id, job] : state.jobs) {
    for (std::string& violation : CheckJob(state, job)) violations.push_back(std::move(violation));
  }
  std::set<Fencing> drawn;
  for (const auto& [id, attempt] : state.attempts) {
    Require(violations, !attempt.fencing || drawn.insert(attempt.fencing).second, "attempt ",
            id.value, ": its fencing number was drawn before");
    Require(violations, attempt.fencing.value <= state.counters.fencing, "attempt ", id.value,
            ": its fencing number was not drawn");
    if (!attempt.held()) continue;
    const Worker* worker = Find(state.workers, attempt.worker);
    Require(violations, worker != nullptr && worker->attempt == id, "attempt ", id.value,
            ": its worker does not hold it");
  }
  for (const auto& [id, worker] : state.workers) {
    Require(violations, (worker.state == WorkerState::kBusy) == static_cast<bool>(worker.attempt),
            "worker ", id.value, ": ", Name(worker.state), " with attempt ", worker.attempt.value);
    if (!worker.attempt) continue;
    const Attempt* attempt = Find(state.attempts, worker.attempt);
    Require(violations, attempt != nullptr && attempt->held() && attempt->worker == id, "worker ",
            id.value, ": holds what is not given to it");
  }
  std::set<SlotName> used;
  for (const auto& [id, launch] : state.launches) {
    if (launch.state == LaunchState::kOver) continue;
    Require(violations, used.insert(launch.slot).second, "launch ", id.value, ": slot ",
            launch.slot.slot, " of ", launch.slot.host.pool, "/", launch.slot.host.host,
            " is used twice");
  }
  return violations;
}

Violations CheckDelta(const State& before, const State& after, const Result& result) {
  Violations violations;
  const Changes& changes = result.changes;
  CheckCounters(before, after, result, violations);
  CheckFinal(before, after, violations);
  CheckLeaving(before, after, violations);
  CheckEpochs(before, after, violations);
  CheckNoted("project", before.projects, after.projects, changes.projects, violations);
  CheckNoted("push", before.pushes, after.pushes, changes.pushes, violations);
  CheckNoted("job", before.jobs, after.jobs, changes.jobs, violations);
  CheckNoted("trial", before.trials, after.trials, changes.trials, violations);
  CheckNoted("attempt", before.attempts, after.attempts, changes.attempts, violations);
  CheckNoted("epoch", before.epochs, after.epochs, changes.epochs, violations);
  CheckNoted("checkpoint", before.checkpoints, after.checkpoints, changes.checkpoints, violations);
  CheckNoted("worker", before.workers, after.workers, changes.workers, violations);
  CheckNoted("launch", before.launches, after.launches, changes.launches, violations);
  CheckNoted("notice", before.notices, after.notices, changes.notices, violations);
  return violations;
}

}  // namespace trainyard::core
