// Parents to inherit from, and whether a child does what its parent did.
#pragma once

#include <cstdint>
#include <vector>

#include "network/training.h"
#include "worker/engine/checkpoint.h"

namespace trainyard::engine {

// As if `network` had been trained: no value is the one that a fresh network has.
Checkpoint TrainedBySeed(const network::Network& network, uint64_t seed, bool adam = false);

// Of a few random images, on the reference backend.
std::vector<float> LogitsOf(const network::Network& network, const kernels::ProgramState& state);

// |a - b| / |b|
double RelativeDistance(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace trainyard::engine
