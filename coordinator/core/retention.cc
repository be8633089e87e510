// Which checkpoints are kept. What goes is marked first, and deleted after that is committed.
#include <algorithm>
#include <set>

#include "coordinator/core/ranking.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

void KeepLastTwo(const State& state, TrialId trial, std::set<CheckpointId>& kept) {
  std::vector<std::pair<int64_t, CheckpointId>> by_step;
  for (const auto& [id, checkpoint] : state.checkpoints) {
    if (checkpoint.trial == trial && checkpoint.state == CheckpointState::kSound) {
      by_step.emplace_back(checkpoint.step, id);
    }
  }
  std::sort(by_step.rbegin(), by_step.rend());
  for (size_t i = 0; i < by_step.size() && i < 2; ++i) kept.insert(by_step[i].second);
}

std::set<CheckpointId> Kept(const State& state, const Job& job) {
  std::set<CheckpointId> kept;
  const auto keep = [&](const Checkpoint* checkpoint) {
    if (checkpoint != nullptr) kept.insert(checkpoint->id);
  };
  keep(BestOfJob(state, job));
  if (job.ended()) return kept;
  kept.insert(job.proposal_inherits);
  for (const TrialId id : job.trials) {
    const Trial& trial = state.trials.at(id);
    keep(WeightsOf(state, trial));
    const Attempt& attempt = state.attempts.at(trial.attempt);
    if (attempt.held()) kept.insert(attempt.from);
    if (trial.ended()) continue;
    kept.insert(trial.inherits);
    KeepLastTwo(state, id, kept);
  }
  return kept;
}

}  // namespace

void DropCheckpoints(Turn& turn, JobId job) {
  const std::set<CheckpointId> kept = Kept(turn.state, turn.state.jobs.at(job));
  for (const auto& [id, checkpoint] : turn.state.checkpoints) {
    if (checkpoint.job != job || checkpoint.state != CheckpointState::kSound) continue;
    if (checkpoint.pinned || kept.count(id) > 0) continue;
    turn.Change(id).state = CheckpointState::kDropping;
    turn.Do(DropCheckpoint{id, checkpoint.sha256});
  }
}

void On(Turn& turn, const CheckpointPinned& event) {
  const auto found = turn.state.checkpoints.find(event.checkpoint);
  if (found == turn.state.checkpoints.end() || found->second.state != CheckpointState::kSound) {
    return turn.Refuse(event.request, absl::StatusCode::kNotFound,
                       "no such checkpoint of an unfinished job");
  }
  turn.Change(event.checkpoint).pinned = event.pinned;
  turn.Accept(event.request, event.checkpoint.value);
}

void On(Turn& turn, const CheckpointDropped& event) {
  const auto found = turn.state.checkpoints.find(event.checkpoint);
  if (found == turn.state.checkpoints.end()) return;
  if (found->second.state == CheckpointState::kDropping) {
    turn.Change(event.checkpoint).state = CheckpointState::kDropped;
  }
}

}  // namespace trainyard::core
