#include "coordinator/core/tuner/grow.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numeric>
#include <utility>

#include "network/shapes.h"
#include "network/signs.h"

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
  if (factor == 1) return filters;
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

// The last dense layer gives the classes and stays as wide as it is.
bool WidenHidden(Network& network, double factor, int units_max) {
  bool grown = false;
  Dense* hidden = nullptr;
  for (Layer& layer : network.layers) {
    auto* dense = std::get_if<Dense>(&layer.op);
    if (dense == nullptr) continue;
    if (hidden != nullptr) {
      const int units = Grown(hidden->units, factor, 1, units_max);
      grown = grown || units != hidden->units;
      hidden->units = units;
    }
    hidden = dense;
  }
  return grown;
}

// Behind the last relu or residual at which the image still has 7 pixels and more each way.
struct Place {
  size_t index = 0;  // of the layer behind it
  int channels = 0;
};

std::optional<Place> LastLargePlace(const Network& network, bool non_negative_only) {
  constexpr int kSmallestSide = 7;
  network::Shape shape = network.input;
  bool non_negative = false;
  std::optional<Place> place;
  for (size_t i = 0; i < network.layers.size(); ++i) {
    const Layer& layer = network.layers[i];
    shape = network::OutputShape(layer, shape);
    non_negative = network::NonNegativeBehind(layer, non_negative);
    const bool activation =
        std::holds_alternative<Relu>(layer.op) || std::holds_alternative<Residual>(layer.op);
    if (!activation || (non_negative_only && !non_negative)) continue;
    if (std::min(shape.height, shape.width) >= kSmallestSide) place = Place{i + 1, shape.channels};
  }
  return place;
}

Conv SameConv(int filters) {
  Conv conv{.filters = filters, .kernel = {3, 3}, .bias = false};
  conv.padding.same = true;
  return conv;
}

Network WithLayers(Network network, size_t index, std::initializer_list<Layer> layers) {
  network.layers.insert(network.layers.begin() + static_cast<int64_t>(index), layers);
  return network;
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
  WidenHidden(grown, factor, 4 * filters_max);
  if (grown == network) return std::nullopt;
  return grown;
}

std::optional<Network> AddBatchNorms(const Network& network) {
  Network grown = network;
  if (!AddBatchNorms(grown.layers)) return std::nullopt;
  return grown;
}

std::optional<Network> Deepen(const Network& network) {
  const std::optional<Place> place = LastLargePlace(network, /*non_negative_only=*/true);
  if (!place) return std::nullopt;
  const Conv conv = SameConv(place->channels);
  return WithLayers(network, place->index, {Layer{conv}, Layer{BatchNorm{}}, Layer{Relu{}}});
}

std::optional<Network> AddResidual(const Network& network) {
  const std::optional<Place> place = LastLargePlace(network, /*non_negative_only=*/false);
  if (!place) return std::nullopt;
  const Conv conv = SameConv(place->channels);
  Residual block{.body = {{conv}, {BatchNorm{}}, {Relu{}}, {conv}, {BatchNorm{}}}};
  return WithLayers(network, place->index, {Layer{std::move(block)}});
}

std::optional<Network> EnlargeKernels(const Network& network) {
  Network changed = network;
  network::Shape shape = network.input;
  for (size_t i = 0; i < network.layers.size(); ++i) {
    const network::Shape in = shape;
    shape = network::OutputShape(network.layers[i], in);
    auto* conv = std::get_if<Conv>(&changed.layers[i].op);
    if (conv == nullptr || !(conv->stride == network::Extent{1, 1})) continue;
    const int side = conv->kernel.height;
    if (conv->kernel.width != side || (side != 1 && side != 3)) continue;
    if (std::min(in.height, in.width) < side + 2) continue;
    conv->kernel = {side + 2, side + 2};
    if (conv->padding.same) continue;
    network::Padding& padding = conv->padding;
    for (int* pixels : {&padding.top, &padding.bottom, &padding.left, &padding.right}) ++*pixels;
  }
  if (changed == network) return std::nullopt;
  return changed;
}

std::optional<Network> AddUnits(const Network& network, double factor, int units_new,
                                int units_max) {
  Network changed = network;
  if (WidenHidden(changed, factor, units_max)) return changed;
  if (changed.layers.empty() || !std::holds_alternative<Dense>(changed.layers.back().op)) {
    return std::nullopt;
  }
  const auto dense = std::ranges::count_if(
      changed.layers, [](const Layer& layer) { return std::holds_alternative<Dense>(layer.op); });
  if (dense > 1) return std::nullopt;
  return WithLayers(network, changed.layers.size() - 1,
                    {Layer{Dense{.units = units_new}}, Layer{Relu{}}});
}

std::optional<Network> Drop(const Network& network, double rate) {
  Network changed = network;
  size_t dense = 0;
  if (Dropout* dropout = LastDropout(changed, &dense)) {
    if (dropout->rate >= rate) return std::nullopt;
    dropout->rate = rate;
    return changed;
  }
  if (dense == changed.layers.size()) return std::nullopt;
  changed.layers.insert(changed.layers.begin() + static_cast<int64_t>(dense), Layer{Dropout{rate}});
  return changed;
}

Dropout* LastDropout(Network& network, size_t* dense) {
  for (size_t i = network.layers.size(); i-- > 0;) {
    if (!std::holds_alternative<Dense>(network.layers[i].op)) continue;
    *dense = i;
    return i == 0 ? nullptr : std::get_if<Dropout>(&network.layers[i - 1].op);
  }
  *dense = network.layers.size();
  return nullptr;
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
