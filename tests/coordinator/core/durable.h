// What a store would keep: records without their live parts, written from a step's changes only.
#pragma once

#include <vector>

#include "coordinator/core/state.h"
#include "coordinator/core/step.h"

namespace trainyard::core {

class Durable {
 public:
  // Writes what the changes name, as it stands in `state`.
  void Commit(const State& state, const Changes& changes);

  // The state to recover from: what is over is left out, identities come from all jobs.
  State Load(const Settings& settings) const;

  // Everything that was ever written.
  const State& records() const { return records_; }
  const std::vector<HistoryRow>& history() const { return history_; }

 private:
  State records_;
  std::vector<HistoryRow> history_;
};

}  // namespace trainyard::core
