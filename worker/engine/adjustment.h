// A change of a trial in mid-run, as the coordinator committed it.
#pragma once

#include <cstdint>

#include "network/training.h"

namespace trainyard::engine {

struct Adjustment {
  int64_t step = 0;                      // optimizer steps done before it takes effect
  bool at_epoch = false;                 // waits for the end of an epoch, from `step` on
  bool stop = false;                     // the trial ends at that step, with the settings it has
  network::Configuration configuration;  // from then on: network::BoundaryOf is not kTrial
  bool operator==(const Adjustment&) const = default;
};

// What became of one that was offered to a running trial.
struct AdjustmentAnswer {
  bool taken = false;
  int64_t step = 0;  // taken: from where on; else the steps that are done: it must not be before
  bool operator==(const AdjustmentAnswer&) const = default;
};

}  // namespace trainyard::engine
