// What a program does for each op, in words for people: Program::Explain.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "kernels/graph.h"

namespace trainyard::kernels {

// How a line of Program::Explain begins: "layers.3 (conv) 32x26x26 -> 64x24x24".
std::string OpWithShapes(const Graph& graph, const Op& op);
// Where it is computed together with ops behind it, up to the one that makes value `output`.
std::string OpWithShapes(const Graph& graph, const Op& op, int output);

// A line for each op that has steps: what they do for it, in their order, "<op with shapes>:
// forward first, weight gradient first". A step's name begins with its op's label (check.h). An op
// without steps is computed as part of another.
std::vector<std::string> ExplainSteps(const Graph& graph, std::span<const std::string> steps);

}  // namespace trainyard::kernels
