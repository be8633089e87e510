// Training without training: weights are one number that each step mixes, and an epoch's metrics
// follow from the network's size, the epoch and the weights. What continues from the wrong weights
// ends with other metrics.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "coordinator/core/event.h"
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
uint64_t StepOnce(uint64_t weights, int64_t step);

// Of a whole epoch, from 1. Loss and accuracies are not numbers where the learning rate is above 1.
core::Metrics Measure(const network::Configuration& configuration, int epoch, uint64_t weights);

}  // namespace trainyard::sim
