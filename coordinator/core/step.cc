#include "coordinator/core/step.h"

#include "coordinator/core/invariants.h"
#include "coordinator/core/turn.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

// A broken invariant inside a job stays inside it.
void SetBrokenJobsAside(Turn& turn) {
  const std::set<JobId> touched = turn.result.changes.jobs;
  for (const JobId id : touched) {
    const Job& job = turn.state.jobs.at(id);
    const std::vector<std::string> violations = CheckJob(turn.state, job);
    if (!violations.empty() && !job.ended()) SetAside(turn, id, violations.front());
  }
}

}  // namespace

Result Step(State& state, const Event& event) {
  Turn turn(state, event);
  std::visit([&](const auto& what) { On(turn, what); }, event.what);
  SetBrokenJobsAside(turn);
  Place(turn);
  if (state.shutting_down) ContinueShutdown(turn);
  return std::move(turn.result);
}

bool Over(const Project& project) { return project.removed; }
bool Over(const Push& push) { return push.state != PushState::kPreparing; }
bool Over(const Job& job) { return job.ended(); }
bool Over(const Worker& worker) { return worker.state == WorkerState::kGone; }
bool Over(const Launch& launch) { return launch.state == LaunchState::kOver; }
bool Over(const Notice& notice) { return notice.sent; }

void Forget(State& state) {
  const auto over = [](const auto& entry) { return Over(entry.second); };
  const auto forgotten = [&](JobId job) {
    const auto found = state.jobs.find(job);
    return found == state.jobs.end() || Over(found->second);
  };
  const auto of_forgotten = [&](const auto& entry) { return forgotten(entry.second.job); };
  std::erase_if(state.trials, of_forgotten);
  std::erase_if(state.attempts, of_forgotten);
  std::erase_if(state.epochs, of_forgotten);
  std::erase_if(state.checkpoints, [&](const auto& entry) {
    const CheckpointState checkpoint = entry.second.state;
    if (checkpoint == CheckpointState::kDropping) return false;
    return checkpoint == CheckpointState::kDropped || forgotten(entry.second.job);
  });
  std::erase_if(state.jobs, over);
  std::erase_if(state.projects, over);
  std::erase_if(state.pushes, over);
  std::erase_if(state.workers, over);
  std::erase_if(state.launches, over);
  std::erase_if(state.notices, over);
}

bool Changes::empty() const {
  return !counters && projects.empty() && pushes.empty() && jobs.empty() && trials.empty() &&
         attempts.empty() && epochs.empty() && checkpoints.empty() && workers.empty() &&
         launches.empty() && notices.empty() && history.empty();
}

void Changes::Add(Changes later) {
  counters = counters || later.counters;
  projects.merge(later.projects);
  pushes.merge(later.pushes);
  jobs.merge(later.jobs);
  trials.merge(later.trials);
  attempts.merge(later.attempts);
  epochs.merge(later.epochs);
  checkpoints.merge(later.checkpoints);
  workers.merge(later.workers);
  launches.merge(later.launches);
  notices.merge(later.notices);
  history.insert(history.end(), std::make_move_iterator(later.history.begin()),
                 std::make_move_iterator(later.history.end()));
}

}  // namespace trainyard::core
