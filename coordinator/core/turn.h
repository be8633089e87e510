// One event's turn at the state: the state, the time, and what comes of it.
//
// Whoever changes a record that the store holds gets it through Change, which notes that it is to
// be written. Only `live` parts and volatile fields are changed without.
#pragma once

#include <string>
#include <utility>

#include "coordinator/core/step.h"

namespace trainyard::core {

class Turn {
 public:
  Turn(State& state_in, const Event& event)
      : state(state_in), now_ms(event.now_ms), wall_ms(event.wall_ms) {}

  State& state;
  const int64_t now_ms;
  const int64_t wall_ms;
  Result result;

  Project& Change(ProjectId id) { return Note(changes().projects, state.projects, id); }
  Push& Change(PushId id) { return Note(changes().pushes, state.pushes, id); }
  Job& Change(JobId id) { return Note(changes().jobs, state.jobs, id); }
  Trial& Change(TrialId id) { return Note(changes().trials, state.trials, id); }
  Attempt& Change(AttemptId id) { return Note(changes().attempts, state.attempts, id); }
  Epoch& Change(EpochKey key) { return Note(changes().epochs, state.epochs, key); }
  Checkpoint& Change(CheckpointId id) { return Note(changes().checkpoints, state.checkpoints, id); }
  Worker& Change(WorkerId id) { return Note(changes().workers, state.workers, id); }
  Launch& Change(LaunchId id) { return Note(changes().launches, state.launches, id); }
  Notice& Change(NoticeId id) { return Note(changes().notices, state.notices, id); }

  // The next number of a counter, and a new record under it.
  int64_t Draw(int64_t Counters::*counter) {
    changes().counters = true;
    return ++(state.counters.*counter);
  }
  template <typename Record, typename Key>
  Record& Add(std::map<Key, Record>& records, int64_t Counters::*counter) {
    const Key id{Draw(counter)};
    records[id].id = id;
    return Change(id);
  }

  void Do(Effect effect) { result.effects.push_back(std::move(effect)); }

  // A line of history; cursor and time are filled in.
  void Tell(HistoryRow row) {
    row.cursor = Draw(&Counters::cursor);
    row.wall_ms = wall_ms;
    changes().history.push_back(std::move(row));
  }

  // Answers; to request zero nobody listens.
  void Accept(RequestId request, int64_t id, bool existed = false, std::string message = "") {
    if (request) Do(Answer{request, absl::StatusCode::kOk, std::move(message), id, existed});
  }
  void Refuse(RequestId request, absl::StatusCode code, std::string message) {
    if (request) Do(Answer{request, code, std::move(message)});
  }

 private:
  Changes& changes() { return result.changes; }

  template <typename Key, typename Record>
  Record& Note(std::set<Key>& changed, std::map<Key, Record>& records, const Key& key) {
    Record& record = records.at(key);
    changed.insert(key);
    return record;
  }
};

}  // namespace trainyard::core
