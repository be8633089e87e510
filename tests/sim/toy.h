// Training without training: weights are one number that each step mixes, and an epoch's metrics
// follow from the network's size, the epoch and the weights. What continues from the wrong weights
// ends with other metrics.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coordinator/core/event.h"
#include "coordinator/core/state.h"
#include "network/training.h"

namespace trainyard::sim {

inline constexpr int kStepsPerEpoch = 4;

struct Blob {
  uint64_t weights = 0;
  int64_t step = 0;
  bool torn = false;
};

// The name of a blob follows from what is in it, and from nothing else.
std::string Sha(const Blob& blob);

// After which it ends: a program's own number where nothing else is asked of it.
int EpochsOf(const network::Configuration& configuration);

uint64_t FreshWeights(const network::Configuration& configuration);
uint64_t InheritedWeights(const network::Configuration& configuration, uint64_t parent);

// One step, with what it is trained with.
uint64_t StepOnce(uint64_t weights, int64_t step, const network::Configuration& with);

// Steps done before the adjustment takes effect.
int64_t EffectiveStep(const core::Adjustment& adjustment);

// What step number `step`, from 0, is trained with.
const network::Configuration& EffectiveAt(const network::Configuration& from,
                                          const std::vector<core::Adjustment>& adjustments,
                                          int64_t step);

// Of the adjustments that `steps_done` steps were trained with, the steps.
std::vector<int64_t> AdjustedAt(const std::vector<core::Adjustment>& adjustments,
                                int64_t steps_done);

// Of a whole epoch, from 1. Loss and accuracies are not numbers where the learning rate is above 1.
core::Metrics Measure(const network::Configuration& configuration, int epoch, uint64_t weights);

}  // namespace trainyard::sim
