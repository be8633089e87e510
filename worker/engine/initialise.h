// First values of all weights: a pure function of (network, initialisation, seed), the same
// whatever the backend, the number of threads or the batch size.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "network/shapes.h"
#include "network/training.h"

namespace trainyard::engine {

// Weights: He normal, std = sqrt(2 / fan_in), or Glorot uniform within sqrt(6 / (fan_in +
// fan_out)). Biases, betas and running means 0, gammas and running variances 1, moments 0 (moment2
// only with AdamW). Random numbers: Philox stream (seed, step 0, layer = place of the tensor,
// kInitialise). `threads`: at most, as BackendOptions has them.
kernels::ProgramState InitialState(const std::vector<network::Parameter>& parameters,
                                   network::Initialisation initialisation,
                                   network::OptimizerKind optimizer, uint64_t seed,
                                   int threads = 0);

}  // namespace trainyard::engine
