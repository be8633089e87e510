#include "network/network.h"

#include <charconv>

namespace trainyard::network {
namespace {

// Layers of one list that Describe writes out before it leaves out the middle.
constexpr size_t kDescribedHead = 24;
constexpr size_t kDescribedTail = 6;

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

std::string Number(double value) {
  char text[32];
  auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return std::string(text, end);
}

std::string Text(const Extent& extent) {
  return std::to_string(extent.height) + "x" + std::to_string(extent.width);
}

std::string StrideText(const Extent& stride) {
  return stride.height == stride.width ? std::to_string(stride.height) : Text(stride);
}

std::string DescribeLayers(const std::vector<Layer>& layers);

std::string DescribeOptions(const Layer& layer) {
  return std::visit(
      Overloaded{
          [](const Conv& conv) {
            std::string text = " " + Text(conv.kernel) + " x" + std::to_string(conv.filters);
            if (conv.stride != Extent{1, 1}) text += " stride " + StrideText(conv.stride);
            if (conv.groups != 1) text += " groups " + std::to_string(conv.groups);
            return text;
          },
          [](const Pool& pool) {
            std::string text = " " + Text(pool.kernel);
            if (pool.stride != pool.kernel) text += " stride " + StrideText(pool.stride);
            return text;
          },
          [](const Relu& relu) {
            return relu.negative_slope == 0 ? std::string() : " " + Number(relu.negative_slope);
          },
          [](const Dropout& dropout) { return " " + Number(dropout.rate); },
          [](const Dense& dense) { return " " + std::to_string(dense.units); },
          [](const Residual& residual) {
            std::string text = "(" + DescribeLayers(residual.body);
            if (!residual.shortcut.empty()) text += " | " + DescribeLayers(residual.shortcut);
            return text + ")";
          },
          [](const auto&) { return std::string(); },
      },
      layer.op);
}

std::string DescribeLayers(const std::vector<Layer>& layers) {
  std::string text;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (i > 0) text += " -> ";
    if (i == kDescribedHead && layers.size() > kDescribedHead + kDescribedTail + 1) {
      size_t skipped = layers.size() - kDescribedHead - kDescribedTail;
      text += "(" + std::to_string(skipped) + " more) -> ";
      i += skipped;
    }
    text += KindName(layers[i]) + DescribeOptions(layers[i]);
  }
  return text;
}

}  // namespace

std::string KindName(const Layer& layer) {
  return std::visit(
      Overloaded{
          [](const Conv&) { return "conv"; },
          [](const BatchNorm&) { return "batch_norm"; },
          [](const Relu& relu) { return relu.negative_slope == 0 ? "relu" : "leaky_relu"; },
          [](const Pool& pool) { return pool.kind == PoolKind::kMax ? "max_pool" : "avg_pool"; },
          [](const GlobalAvgPool&) { return "global_avg_pool"; },
          [](const Dropout&) { return "dropout"; },
          [](const Flatten&) { return "flatten"; },
          [](const Dense&) { return "dense"; },
          [](const Residual&) { return "residual"; },
      },
      layer.op);
}

std::string Describe(const Network& network) { return DescribeLayers(network.layers); }

}  // namespace trainyard::network
