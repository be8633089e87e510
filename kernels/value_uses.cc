#include "kernels/value_uses.h"

namespace trainyard::kernels {

std::vector<ValueUse> UsesOf(const Graph& graph) {
  std::vector<ValueUse> uses(graph.values.size());
  for (int i = 0; i < static_cast<int>(graph.ops.size()); ++i) {
    const Op& op = graph.ops[i];
    bool needs_gradient = op.offsets.weight >= 0;
    for (int input : op.inputs) {
      ++uses[input].consumers;
      uses[input].consumer = i;
      needs_gradient = needs_gradient || uses[input].needs_gradient;
    }
    uses[op.output].producer = i;
    uses[op.output].needs_gradient = needs_gradient;
  }
  ++uses[graph.ops.back().output].consumers;  // the loss
  return uses;
}

}  // namespace trainyard::kernels
