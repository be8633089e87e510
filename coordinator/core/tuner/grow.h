// Changes to an architecture. Each takes a network and gives a changed one, or none where it does
// not apply; validity is for the caller to check. Layers that stay keep their order, and what is
// put in can start as an identity, so that the worker can take over the weights and, but for batch
// norm, the function too (worker/engine/morph).
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

// conv 3x3 - batch_norm - relu with as many filters as there are channels, after the last relu or
// residual at which the image still has 7 pixels or more each way and no value is negative (else
// the relu would change the function). None: there is no such place.
std::optional<network::Network> Deepen(const network::Network& network);

// Residual(conv 3x3 - batch_norm - relu - conv 3x3 - batch_norm), as many filters as there are
// channels, after the last relu or residual of that size; its body starts silent. None: there is no
// such place.
std::optional<network::Network> AddResidual(const network::Network& network);

// Kernels of 3x3 become 5x5 and those of 1x1 3x3 in convs of stride 1 outside residuals, wherever
// the image is at least as large; padding grows along. None: there is no such conv.
std::optional<network::Network> EnlargeKernels(const network::Network& network);

// Hidden dense layers `factor` times as wide, at most `units_max`. Where there is none, one of
// `units_new` and a relu in front of the last dense layer (with twice as many units as classes and
// more it can start as the identity). None: cannot grow, or the last layer is not dense.
std::optional<network::Network> AddUnits(const network::Network& network, double factor,
                                         int units_new, int units_max);

// A dropout in front of the last dense layer, or its rate raised. None: at or above `rate`.
std::optional<network::Network> Drop(const network::Network& network, double rate);

// The dropout in front of the last dense layer; null: none. `dense`: that layer's index, the number
// of layers where there is no dense one.
network::Dropout* LastDropout(network::Network& network, size_t* dense);

// All dropouts down to `rate` at most; 0 keeps them with rate 0. None: none is above.
std::optional<network::Network> DropLess(const network::Network& network, double rate);

// Filters of the narrowest conv, at any depth; 0: there is no conv.
int NarrowestConv(const network::Network& network);

}  // namespace trainyard::core
