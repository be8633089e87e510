// Small networks with everything that the step program treats in its own way.
#pragma once

#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {

// Convolutions with batch norm, a block that adds its input and one that adds a projection with a
// batch norm of its own, all with ReLU; global average pool; linear.
Graph ResidualNet(int batch_size, int width);

// Depthwise 3x3 and pointwise 1x1 convolutions, one depthwise with a multiplier and a stride.
Graph SeparableNet(int batch_size, int width);

// Every op, fused and alone, and values with several readers.
Graph EveryOpNet(int batch_size);

// The graph with leaky ReLUs of slope 0.875 and average pools for max pools: its loss is almost
// smooth. Where rounding moves a value over a ReLU's zero, or another pixel becomes a window's
// largest, a whole term of the gradient comes or goes: with a share p of such places the gradient
// is off by about sqrt(p), which is more than the rounding itself.
Graph WithoutKinks(Graph graph);

}  // namespace trainyard::kernels::testing
