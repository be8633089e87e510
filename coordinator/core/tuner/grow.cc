#include "coordinator/core/tuner/grow.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "network/shapes.h"

namespace trainyard::core {
namespace {

using network::BatchNorm;
using network::Conv;
using network::Dense;
using network::Dropout;
using network::Layer;
using network::Network;
using network::Relu;
using network::Residual;

template <typename Visit>
void EachConv(std::vector<Layer>& layers, Visit visit) {
  for (Layer& layer : layers) {
    if (auto* conv = std::get_if<Conv>(&layer.op)) visit(*conv);
    if (auto* residual = std::get_if<Residual>(&layer.op)) {
      EachConv(residual->body, visit);
      EachConv(residual->shortcut, visit);
    }
  }
}

// The same filters grow to the same filters, so that both sides of a residual still agree. A factor
// below 1 shrinks them.
int Grown(int filters, double factor, int groups, int filters_max) {
  if (filters >= filters_max && factor >= 1) return filters;
  const int multiple = std::lcm(groups, 4);
  const int wanted = static_cast<int>(std::lround(filters * factor));
  const int rounded = std::max(1, (wanted + multiple - 1) / multiple) * multiple;
  if (factor < 1) return std::min(filters, rounded);
  return std::max(filters, std::min(rounded, filters_max / multiple * multiple));
}

bool AddBatchNorms(std::vector<Layer>& layers) {
  bool added = false;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (auto* residual = std::get_if<Residual>(&layers[i].op)) {
      added = AddBatchNorms(residual->body) || added;
      continue;
    }
    if (!std::holds_alternative<Conv>(layers[i].op)) continue;
    const bool has = i + 1 < layers.size() && std::holds_alternative<BatchNorm>(layers[i + 1].op);
    if (has) continue;
    layers.insert(layers.begin() + static_cast<int64_t>(i) + 1, Layer{BatchNorm{}});
    added = true;
  }
  return added;
}

}  // namespace

std::optional<Network> Widen(const Network& network, double factor, int filters_max) {
  Network grown = network;
  // Depthwise and grouped convs follow their input's channels; a common multiple suits all.
  int groups = 1;
  EachConv(grown.layers, [&](Conv& conv) {
    if (conv.groups > 1) groups = std::lcm(groups, conv.groups);
  });
  if (groups > filters_max) return std::nullopt;
  EachConv(grown.layers, [&](Conv& conv) {
    const bool depthwise = conv.groups > 1 && conv.groups == conv.filters;
    conv.filters = Grown(conv.filters, factor, groups, filters_max);
    if (depthwise) conv.groups = conv.filters;
  });
  // The last dense layer gives the classes and stays as wide as it is.
  Dense* hidden = nullptr;
  for (Layer& layer : grown.layers) {
    auto* dense = std::get_if<Dense>(&layer.op);
    if (dense == nullptr) continue;
    if (hidden != nullptr) hidden->units = Grown(hidden->units, factor, 1, 4 * filters_max);
    hidden = dense;
  }
  if (grown == network) return std::nullopt;
  return grown;
}

std::optional<Network> AddBatchNorms(const Network& network) {
  Network grown = network;
  if (!AddBatchNorms(grown.layers)) return std::nullopt;
  return grown;
}

std::optional<Network> Deepen(const Network& network) {
  constexpr int kSmallestSide = 7;
  network::Shape shape = network.input;
  std::optional<std::pair<size_t, int>> place;  // in front of which layer, channels there
  for (size_t i = 0; i < network.layers.size(); ++i) {
    shape = network::OutputShape(network.layers[i], shape);
    const bool activation = std::holds_alternative<Relu>(network.layers[i].op) ||
                            std::holds_alternative<Residual>(network.layers[i].op);
    if (activation && std::min(shape.height, shape.width) >= kSmallestSide) {
      place = {i + 1, shape.channels};
    }
  }
  if (!place) return std::nullopt;
  Conv conv{.filters = place->second, .kernel = {3, 3}, .bias = false};
  conv.padding.same = true;
  Network grown = network;
  grown.layers.insert(grown.layers.begin() + static_cast<int64_t>(place->first),
                      {Layer{conv}, Layer{BatchNorm{}}, Layer{Relu{}}});
  return grown;
}

std::optional<Network> Drop(const Network& network, double rate) {
  Network changed = network;
  for (size_t i = changed.layers.size(); i-- > 0;) {
    if (!std::holds_alternative<Dense>(changed.layers[i].op)) continue;
    if (i > 0) {
      if (auto* dropout = std::get_if<Dropout>(&changed.layers[i - 1].op)) {
        if (dropout->rate >= rate) return std::nullopt;
        dropout->rate = rate;
        return changed;
      }
    }
    changed.layers.insert(changed.layers.begin() + static_cast<int64_t>(i), Layer{Dropout{rate}});
    return changed;
  }
  return std::nullopt;
}

std::optional<Network> DropLess(const Network& network, double rate) {
  Network changed = network;
  for (Layer& layer : changed.layers) {
    if (auto* dropout = std::get_if<Dropout>(&layer.op)) {
      dropout->rate = std::min(dropout->rate, rate);
    }
  }
  if (changed == network) return std::nullopt;
  return changed;
}

int NarrowestConv(const Network& network) {
  Network copy = network;
  int narrowest = 0;
  EachConv(copy.layers, [&](const Conv& conv) {
    narrowest = narrowest == 0 ? conv.filters : std::min(narrowest, conv.filters);
  });
  return narrowest;
}

}  // namespace trainyard::core
