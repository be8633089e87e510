// From the network a user wrote to the op graph that a backend runs.
//
//   Plan plan = MakePlan(network, batch_size);
//   std::unique_ptr<kernels::Program> program = backend->Lower(plan.graph);
//
// A residual becomes its body's ops, its shortcut's and a kAdd; a flatten vanishes, since kLinear
// reads (c, h, w) in that order anyway; padding is resolved to pixels.
#pragma once

#include <string>
#include <vector>

#include "kernels/graph.h"
#include "kernels/precision.h"
#include "network/shapes.h"
#include "network/training.h"

namespace trainyard::engine {

struct Plan {
  kernels::Graph graph;
  std::vector<network::Parameter> parameters;  // order of the flat spans
  std::vector<float> dropout_rates;            // for StepScalars, by Op::dropout
};

// Requires that network::CheckNetwork finds nothing wrong and batch_size >= 1. Throws
// kernels::Error, naming the layer, for the few valid networks that the op graph cannot say:
// anything but relu, dropout, dense and sums of equals behind a flatten of an image.
Plan MakePlan(const network::Network& network, int batch_size);

// What a backend calls the precision that is asked for.
kernels::Precision PrecisionOf(const network::Training& training);

// The rates of a network's dropout layers, as its plan numbers them.
std::vector<float> DropoutRates(const network::Network& network);

}  // namespace trainyard::engine
