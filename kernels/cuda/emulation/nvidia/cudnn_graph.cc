#include <algorithm>
#include <map>
#include <set>

#include "kernels/cuda/emulation/nvidia/cudnn_operation.h"

namespace trainyard::kernels::cuda::emulation::nvidia {

std::vector<Operation> ReadGraph(const Descriptor& graph) {
  std::vector<Operation> left;
  std::map<int64_t, Tensor> tensors;
  std::set<int64_t> made;  // somewhere in the graph
  for (const Descriptor::Child& child : graph.Children(CUDNN_ATTR_OPERATIONGRAPH_OPS)) {
    left.push_back(ReadOperation(*child));
    const auto know = [&](const Tensor& tensor) {
      if (tensors.emplace(tensor.id, tensor).first->second == tensor) return;
      throw Refusal(CUDNN_STATUS_BAD_PARAM, "two tensors with the id " + std::to_string(tensor.id));
    };
    for (const Tensor& input : left.back().inputs) know(input);
    for (const Tensor& output : left.back().outputs) {
      know(output);
      if (made.insert(output.id).second) continue;
      throw Refusal(CUDNN_STATUS_BAD_PARAM,
                    "two operations make tensor " + std::to_string(output.id));
    }
  }
  std::set<int64_t> used;
  for (const Operation& operation : left) {
    for (const Tensor& input : operation.inputs) {
      used.insert(input.id);
      if (!input.is_virtual || made.count(input.id) != 0) continue;
      throw Refusal(CUDNN_STATUS_BAD_PARAM,
                    "no operation makes the virtual tensor " + std::to_string(input.id));
    }
  }
  for (const auto& [id, tensor] : tensors) {
    if (!tensor.is_virtual || used.count(id) != 0) continue;
    throw Refusal(CUDNN_STATUS_BAD_PARAM,
                  "no operation needs the virtual tensor " + std::to_string(id));
  }
  std::vector<Operation> sorted;
  std::set<int64_t> waiting = made;
  while (!left.empty()) {
    const auto next = std::find_if(left.begin(), left.end(), [&](const Operation& operation) {
      return std::none_of(operation.inputs.begin(), operation.inputs.end(),
                          [&](const Tensor& input) { return waiting.count(input.id) != 0; });
    });
    if (next == left.end()) throw Refusal(CUDNN_STATUS_BAD_PARAM, "the operations form a circle");
    for (const Tensor& output : next->outputs) waiting.erase(output.id);
    sorted.push_back(*next);
    left.erase(next);
  }
  return sorted;
}

}  // namespace trainyard::kernels::cuda::emulation::nvidia
