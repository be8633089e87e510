#include "kernels/explain.h"

#include "kernels/check.h"

namespace trainyard::kernels {
namespace {

std::string ShapeText(const ValueShape& shape) {
  return std::to_string(shape.channels) + "x" + std::to_string(shape.height) + "x" +
         std::to_string(shape.width);
}

}  // namespace

std::string OpWithShapes(const Graph& graph, const Op& op) {
  return OpWithShapes(graph, op, op.output);
}

std::string OpWithShapes(const Graph& graph, const Op& op, int output) {
  return OpLabel(op) + " " + ShapeText(graph.values[op.inputs[0]]) + " -> " +
         ShapeText(graph.values[output]);
}

std::vector<std::string> ExplainSteps(const Graph& graph, std::span<const std::string> steps) {
  std::vector<std::string> lines;
  for (const Op& op : graph.ops) {
    const std::string label = OpLabel(op) + " ";
    std::string done;
    for (const std::string& step : steps) {
      if (!step.starts_with(label)) continue;
      done += (done.empty() ? "" : ", ") + step.substr(label.size());
    }
    if (!done.empty()) lines.push_back(OpWithShapes(graph, op) + ": " + done);
  }
  return lines;
}

}  // namespace trainyard::kernels
