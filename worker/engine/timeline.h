// What a trial is trained with at each step: its configuration, and from its step on each
// adjustment.
//
//   Timeline timeline(configuration, steps_per_epoch, adjustments);
//   timeline.At(step).training;  // of the optimizer step with this number, counted from 0
//
// Whoever has the same list gets the same settings, so a run that is changed in mid-run and one
// that had the list in hand from its start are the same.
#pragma once

#include <cstdint>
#include <vector>

#include "network/training.h"
#include "worker/engine/adjustment.h"
#include "worker/engine/checkpoint.h"

namespace trainyard::engine {

class Timeline {
 public:
  struct Settings {
    network::Training training;
    std::vector<float> dropout_rates;  // for kernels::StepScalars
  };

  // Throws kernels::Error, naming the adjustment that cannot be: its configuration is wrong, or one
  // that only another trial could have. None takes effect before the one that it stands behind.
  Timeline(network::Configuration configuration, int64_t steps_per_epoch,
           const std::vector<Adjustment>& adjustments);

  // One more, of this number, from 1, offered when so many steps are done. Throws likewise.
  AdjustmentAnswer Offer(int number, const Adjustment& adjustment, int64_t steps_done);

  const Settings& At(int64_t step) const;
  // Whether the trial ends before the step of this number.
  bool StopsBefore(int64_t step) const;
  // What the first `steps` steps were changed by.
  std::vector<Checkpoint::Adjusted> AppliedIn(int64_t steps) const;
  // Of all adjustments that are held, in order.
  std::vector<int64_t> steps() const;

 private:
  struct Entry {
    Adjustment adjustment;  // its step as StepOf says
    Settings settings;
    uint64_t digest = 0;
  };
  int64_t StepOf(const Adjustment& adjustment) const;  // of the next one
  Entry MakeEntry(Adjustment adjustment) const;

  const int64_t steps_per_epoch_;
  const network::Configuration configuration_;
  const Settings settings_;
  std::vector<Entry> entries_;
};

}  // namespace trainyard::engine
