// Who makes and who reads each value of a graph: what backends decide fusions by.
#pragma once

#include <vector>

#include "kernels/graph.h"

namespace trainyard::kernels {

struct ValueUse {
  int producer = -1;            // the op that makes it
  int consumers = 0;            // ops that read it, an op once for each input, and the loss
  int consumer = -1;            // the last op that reads it
  bool needs_gradient = false;  // whether parameters stand before it
};

// By value.
std::vector<ValueUse> UsesOf(const Graph& graph);

}  // namespace trainyard::kernels
