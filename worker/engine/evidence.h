// What an epoch's last whole batch says of the state of the network: numbers for the diagnosis of
// a trial. They cost two copies of the weights, once an epoch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "network/shapes.h"

namespace trainyard::engine {

// L2 of (after - before) over L2 of `before`; 0 of weights that are all 0.
double UpdateRatio(std::span<const float> before, std::span<const float> after);

// Share of the filters and dense units, those of the last layer left out, whose weights have a
// gradient of 0 throughout: no image of the batch reached them, or nothing behind them listens.
// 0 where there are none. `gradients` is laid out as the trainable parameters are.
double DeadUnits(const std::vector<network::Parameter>& parameters,
                 std::span<const float> gradients);

}  // namespace trainyard::engine
