#include "tests/coordinator/core/durable.h"

namespace trainyard::core {
namespace {

template <typename Key, typename Record>
void Write(std::map<Key, Record>& records, const std::map<Key, Record>& state,
           const std::set<Key>& changed) {
  for (const Key& id : changed) {
    Record& record = records[id] = state.at(id);
    if constexpr (requires { record.live; }) record.live = {};
  }
}

}  // namespace

void Durable::Commit(const State& state, const Changes& changes) {
  if (changes.counters) records_.counters = state.counters;
  Write(records_.projects, state.projects, changes.projects);
  Write(records_.pushes, state.pushes, changes.pushes);
  Write(records_.jobs, state.jobs, changes.jobs);
  Write(records_.trials, state.trials, changes.trials);
  Write(records_.attempts, state.attempts, changes.attempts);
  Write(records_.epochs, state.epochs, changes.epochs);
  Write(records_.checkpoints, state.checkpoints, changes.checkpoints);
  Write(records_.workers, state.workers, changes.workers);
  Write(records_.launches, state.launches, changes.launches);
  Write(records_.notices, state.notices, changes.notices);
  history_.insert(history_.end(), changes.history.begin(), changes.history.end());
}

State Durable::Load(const Settings& settings) const {
  State state = records_;
  state.settings = settings;
  for (const auto& [id, job] : records_.jobs) {
    state.identities[job.identity] = id;
    if (!job.request.request_key.empty()) state.request_keys[job.request.request_key] = id;
  }
  Forget(state);
  return state;
}

}  // namespace trainyard::core
