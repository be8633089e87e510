// What must be true, kept apart from the core: who may write, what was acknowledged, what is left.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/core/invariants.h"
#include "tests/coordinator/core/fields.h"
#include "tests/coordinator/core/text.h"
#include "tests/sim/world.h"

namespace trainyard::sim {

using namespace core;  // NOLINT: see shell.cc

void World::Violation(const std::string& what) {
  if (report_.violations.size() < 10) {
    report_.violations.push_back(absl::StrCat("at ", clock_.now_ms(), " ms: ", what));
  }
}

// A worker that was superseded and has not heard of it may find nothing any more.
void World::Missing(const Claim& claim, const std::string& sha256) {
  const auto attempt = disk_.records().attempts.find(claim.attempt);
  if (attempt == disk_.records().attempts.end() || !attempt->second.held()) return;
  Violation(absl::StrCat("checkpoint ", sha256, " of attempt ", claim.attempt.value,
                         " is not in the store"));
}

void World::Account(const Event& event, const State& before, const Result& result) {
  for (const std::string& violation : CheckState(state_)) Violation(violation);
  for (const std::string& violation : CheckDelta(before, state_, result)) Violation(violation);
  for (const TrialId id : result.changes.trials) {
    const Trial& trial = state_.trials.at(id);
    const auto earlier = before.trials.find(id);
    if (earlier == before.trials.end()) continue;
    const Trial& then = earlier->second;
    if (trial.state == TrialState::kHalted && then.state != trial.state) Count("trial halted");
    if (then.state == TrialState::kHalted && trial.going()) Count("trial promoted");
    if (trial.rewinds > then.rewinds) Count("trial rewound");
    if (trial.adjustments.size() <= then.adjustments.size()) continue;
    const bool manual = trial.adjustments.back().tweak.finding.kind == FindingKind::kManual;
    if (!manual) Count(trial.adjustments.back().stop ? "trial ended early" : "tuner adjusted");
  }
  // Only the claim that was handed out last may add rows and checkpoints.
  const auto written = [&](TrialId trial) {
    std::visit(
        [&](const auto& what) {
          if constexpr (requires { what.claim; }) {
            if (what.claim == holder_[trial]) return;
            Violation(absl::StrCat("attempt ", what.claim.attempt.value, " wrote to trial ",
                                   trial.value, ", which was given away"));
          } else {
            Violation(absl::StrCat("trial ", trial.value, " was written to by nobody"));
          }
        },
        event.what);
  };
  for (const EpochKey& key : result.changes.epochs) {
    if (before.epochs.count(key) == 0) written(key.trial);
  }
  for (const CheckpointId id : result.changes.checkpoints) {
    if (before.checkpoints.count(id) > 0) continue;
    written(state_.checkpoints.at(id).trial);
    CheckReplay(state_.checkpoints.at(id));
  }
}

// Whoever trains the trial again by what is on record comes to the same weights.
void World::CheckReplay(const Checkpoint& checkpoint) {
  const auto start = start_weights_.find(checkpoint.trial);
  if (start == start_weights_.end() || restarted_.count(checkpoint.trial) > 0) return;
  const Trial& trial = state_.trials.at(checkpoint.trial);
  Blob blob{start->second};
  while (blob.step < checkpoint.step) {
    const network::Configuration& with =
        EffectiveAt(trial.configuration, trial.adjustments, blob.step);
    ++blob.step;
    blob.weights = StepOnce(blob.weights, blob.step, with);
  }
  if (Sha(blob) == checkpoint.sha256) return;
  Violation(absl::StrCat("trial ", checkpoint.trial.value, ", step ", checkpoint.step,
                         ": trained otherwise than its record says"));
}

// Nothing is done, promised or handed out before it is on disk.
void World::CheckEffect(const Effect& effect) {
  const State& records = disk_.records();
  if (const auto* start = std::get_if<StartAttempt>(&effect)) {
    const auto attempt = records.attempts.find(start->claim.attempt);
    if (attempt == records.attempts.end() || attempt->second.fencing != start->claim.fencing) {
      Violation("an attempt was handed out that is not on disk");
    }
    const auto worker = records.workers.find(start->claim.worker);
    const auto launch = records.launches.find(worker->second.launch);
    if (launch != records.launches.end() && launch->second.slot.host.pool == "farm" &&
        launch->second.attempt != start->claim.attempt) {
      Violation("a worker of one attempt was given another one");
    }
    Claim& holder = holder_[start->trial];
    if (holder.fencing < start->claim.fencing) holder = start->claim;
  } else if (const auto* acknowledge = std::get_if<Acknowledge>(&effect)) {
    const Process* process = Find(acknowledge->claim.worker);
    if (process == nullptr || process->worker->claim() != acknowledge->claim) return;
    const Event* report = process->worker->Unacknowledged(acknowledge->sequence);
    if (report == nullptr) return;
    const auto* epoch = std::get_if<EpochReported>(&report->what);
    if (epoch == nullptr) return;
    const TrialId trial = records.attempts.at(acknowledge->claim.attempt).trial;
    const auto row = records.epochs.lower_bound(EpochKey{trial, epoch->epoch});
    if (row == records.epochs.end() || row->first.trial != trial ||
        row->first.epoch != epoch->epoch) {
      Violation(absl::StrCat("epoch ", epoch->epoch, " was acknowledged and is not on disk"));
    }
  }
}

void World::Remember(const Event& event, const Result& result) {
  Count(absl::StrCat("event: ", kEventNames[event.what.index()]));
  for (const Effect& effect : result.effects) {
    Count(absl::StrCat("effect: ", kEffectNames[effect.index()]));
  }
  if (options_.trace) {
    std::string text = absl::StrCat(event.now_ms, " ", Text(event));
    for (const Effect& effect : result.effects) absl::StrAppend(&text, "\n", Text(effect));
    for (const char c : text)
      report_.trace_hash = Mix(report_.trace_hash ^ static_cast<uint8_t>(c));
  }
  if (!report_.violations.empty() && recent_.size() >= 40) return;  // keep what led to it
  recent_.emplace_back(event, result.effects);
  if (recent_.size() > 40) recent_.pop_front();
}

bool World::Quiet() const {
  const State& records = disk_.records();
  const auto all = [](const auto& map, auto holds) {
    return std::all_of(map.begin(), map.end(), [&](const auto& e) { return holds(e.second); });
  };
  return records.jobs.size() >= jobs_planned_ &&
         all(records.jobs, [](const Job& job) { return job.ended(); }) &&
         all(records.attempts, [](const Attempt& attempt) { return attempt.ended(); }) &&
         all(records.launches, [](const core::Launch& launch) { return Over(launch); }) &&
         all(records.notices, [](const Notice& notice) { return notice.sent; }) &&
         all(records.pushes, [](const core::Push& push) { return Over(push); }) &&
         all(records.checkpoints,
             [](const Checkpoint& checkpoint) {
               return checkpoint.state != CheckpointState::kDropping;
             }) &&
         all(wishes_, [](const Wish& wish) { return wish.granted; });
}

// Nothing is left behind, nothing that was kept is missing.
void World::CheckEnd() {
  for (const Process& process : processes_) {
    if (process.worker->alive() && process.worker->launch()) {
      Violation(
          absl::StrCat("the process of launch ", process.worker->launch().value, " is left over"));
    }
  }
  for (const auto& [id, job] : disk_.records().jobs) {
    const bool published = job.state == JobState::kSucceeded || job.state == JobState::kBelowTarget;
    if (published != job.model.has_value()) {
      Violation(absl::StrCat("job ", id.value, " ", Name(job.state), " and its model disagree"));
    }
    if (!published) continue;
    const Checkpoint& best = disk_.records().checkpoints.at(job.best);
    if (best.state == CheckpointState::kSound && blobs_.count(best.sha256) == 0) {
      Violation(absl::StrCat("job ", id.value, ": its best checkpoint is not in the store"));
    }
  }
  int64_t cursor = 0;
  for (const HistoryRow& row : disk_.history()) {
    if (row.cursor != ++cursor) return Violation("history has a gap or a repetition");
  }
}

Report World::Finish() {
  const State& records = disk_.records();
  for (const auto& [id, job] : records.jobs) {
    const std::string key =
        job.request.request_key.empty() ? job.request.commit : job.request.request_key;
    JobOutcome& outcome = report_.jobs[key];
    outcome.state = job.state;
    outcome.touched = paths_changed_ || touched_.count(id) > 0;
    // Which of several was the first to get there is a matter of speed.
    const bool parallel = job.request.tuning.parallel > 1;
    if (parallel && (job.target_met || job.request.budget.epochs > 0)) outcome.touched = true;
    if (job.model) outcome.model = job.model->onnx_sha256;
    for (const TrialId trial_id : job.trials) {
      const Trial& trial = records.trials.at(trial_id);
      if (trial.state == TrialState::kFailed) outcome.touched = true;
      if (!trial.adjustments.empty()) outcome.touched = true;  // where it took effect
      TrialOutcome one{trial.configuration, trial.adjustments, start_weights_[trial_id], {}};
      for (auto row = records.epochs.lower_bound(EpochKey{trial_id});
           row != records.epochs.end() && row->first.trial == trial_id; ++row) {
        if (!row->second.superseded) one.rows.push_back(row->second.metrics);
      }
      outcome.trials.push_back(std::move(one));
    }
  }
  report_.end_ms = clock_.now_ms();
  if (report_.violations.empty()) return std::move(report_);
  for (const auto& [event, effects] : recent_) {
    absl::StrAppend(&report_.last_steps, "@", event.now_ms, " ", Text(event), "\n");
    for (const Effect& effect : effects) {
      absl::StrAppend(&report_.last_steps, "  ", Text(effect), "\n");
    }
  }
  absl::StrAppend(&report_.last_steps, Text(state_));
  return std::move(report_);
}

}  // namespace trainyard::sim
