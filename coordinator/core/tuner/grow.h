// Changes to an architecture. Each takes a network and gives a changed one, or none where it does
// not apply; validity is for the caller to check. Layers that stay keep their order, so that the
// worker can take over their weights.
#pragma once

#include <optional>

#include "network/network.h"

namespace trainyard::core {

// Every conv `factor` times as many filters (a multiple of its groups and of 4, at most
// `filters_max`), and hidden dense layers as many units; below 1, as many fewer. Convs that must
// agree, in residuals, grow alike. None: nothing changes.
std::optional<network::Network> Widen(const network::Network& network, double factor,
                                      int filters_max);

// A batch_norm after each conv that has none, outside and inside residuals. None: all have one.
std::optional<network::Network> AddBatchNorms(const network::Network& network);

// conv 3x3 - batch_norm - relu with as many filters as there are channels, after the last
// activation at which the image still has 7 pixels or more each way. None: there is no such place.
std::optional<network::Network> Deepen(const network::Network& network);

// A dropout in front of the last dense layer, or its rate raised. None: at or above `rate`.
std::optional<network::Network> Drop(const network::Network& network, double rate);

// All dropouts down to `rate` at most; 0 keeps them with rate 0. None: none is above.
std::optional<network::Network> DropLess(const network::Network& network, double rate);

// Filters of the narrowest conv, at any depth; 0: there is no conv.
int NarrowestConv(const network::Network& network);

}  // namespace trainyard::core
