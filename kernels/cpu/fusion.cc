#include "kernels/cpu/fusion.h"

#include "kernels/value_uses.h"

namespace trainyard::kernels::cpu {
namespace {

bool HalvesEdges(const Op& op) {
  return op.kind == OpKind::kMaxPool && op.kernel_h == 2 && op.kernel_w == 2 && op.stride_h == 2 &&
         op.stride_w == 2 && op.pad_top == 0 && op.pad_bottom == 0 && op.pad_left == 0 &&
         op.pad_right == 0;
}

// Whether op `i` can be done on the way by the group; notes it there.
bool Join(const Graph& graph, Group& group, int i) {
  const Op& op = graph.ops[i];
  const OpKind head = graph.ops[group.head].kind;
  const bool conv = head == OpKind::kConv;
  if (group.dropout >= 0) return false;
  switch (op.kind) {
    case OpKind::kMaxPool:
      // The largest of a window is the same one before and after a ReLU that keeps the order.
      if (!conv || group.pool >= 0 || group.norm >= 0 || !HalvesEdges(op)) return false;
      group.pool = i;
      return true;
    case OpKind::kBatchNorm:
      if (!(conv || head == OpKind::kLinear) || group.norm >= 0 || group.relu >= 0) return false;
      group.norm = i;
      return true;
    case OpKind::kRelu: {
      const bool stored = group.norm < 0;
      // What is stored must still tell the sign of what went in.
      if (group.relu >= 0 || (stored && op.negative_slope < 0)) return false;
      if (!conv && head != OpKind::kLinear && head != OpKind::kAdd && group.norm < 0) return false;
      group.relu = i;
      return true;
    }
    case OpKind::kDropout:
      if (!conv || group.norm >= 0) return false;
      group.dropout = i;
      return true;
    default:
      return false;
  }
}

}  // namespace

float Group::slope(const Graph& graph) const {
  return relu < 0 ? 1.0f : graph.ops[relu].negative_slope;
}

float Group::stored_slope(const Graph& graph) const {
  return norm >= 0 || relu == head ? 1.0f : slope(graph);
}

std::vector<Group> GroupsOf(const Graph& graph) {
  const std::vector<ValueUse> uses = UsesOf(graph);
  std::vector<bool> taken(graph.ops.size(), false);
  std::vector<Group> groups;
  for (int i = 0; i < static_cast<int>(graph.ops.size()); ++i) {
    if (taken[i]) continue;
    Group group;
    group.head = i;
    if (graph.ops[i].kind == OpKind::kBatchNorm) group.norm = i;
    if (graph.ops[i].kind == OpKind::kRelu) group.relu = i;
    group.output = graph.ops[i].output;
    for (;;) {
      const ValueUse& use = uses[group.output];
      if (use.consumers != 1 || use.consumer < 0 || !Join(graph, group, use.consumer)) break;
      taken[use.consumer] = true;
      group.output = graph.ops[use.consumer].output;
    }
    groups.push_back(group);
  }
  return groups;
}

}  // namespace trainyard::kernels::cpu
