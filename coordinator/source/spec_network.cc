// `network`: layers as people write them.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "coordinator/source/spec_parts.h"
#include "coordinator/source/text.h"
#include "network/shapes.h"

namespace trainyard::coordinator {
namespace {

using Kind = YamlNode::Kind;
using network::Extent;
using network::Layer;

std::vector<Layer> ReadLayers(const YamlNode& node, const std::string& path,
                              SpecProblems* problems);

// 3, or [3, 5] for height and width.
void ReadExtent(const YamlNode* node, const std::string& path, Extent* extent,
                SpecProblems* problems) {
  if (node == nullptr) return;
  int64_t sides[2];
  if (node->kind == Kind::kSequence) {
    if (node->items.size() != 2) {
      problems->Add(node->place, path,
                    fmt::format("found a list of {}, expected one number or [height, width]",
                                node->items.size()));
      return;
    }
    for (int i = 0; i < 2; ++i) {
      std::string side = fmt::format("{}[{}]", path, i);
      if (!ReadInteger(node->items[i], side, 1, network::kExtentMax, &sides[i], problems)) return;
    }
  } else {
    if (!ReadInteger(*node, path, 1, network::kExtentMax, &sides[0], problems)) return;
    sides[1] = sides[0];
  }
  *extent = {static_cast<int>(sides[0]), static_cast<int>(sides[1])};
}

// same, valid, 1, [1, 2] for vertical and horizontal, or {top, bottom, left, right}.
void ReadPadding(const YamlNode* node, const std::string& path, network::Padding* padding,
                 SpecProblems* problems) {
  if (node == nullptr) return;
  if (node->kind == Kind::kScalar && (node->text == "same" || node->text == "valid")) {
    padding->same = node->text == "same";
    return;
  }
  if (node->kind == Kind::kMap) {
    Section section(node, path, "padding", problems);
    section.Integer("top", 0, network::kExtentMax, &padding->top);
    section.Integer("bottom", 0, network::kExtentMax, &padding->bottom);
    section.Integer("left", 0, network::kExtentMax, &padding->left);
    section.Integer("right", 0, network::kExtentMax, &padding->right);
    return;
  }
  if (node->kind == Kind::kSequence && node->items.size() == 2) {
    int64_t sides[2];
    for (int i = 0; i < 2; ++i) {
      std::string side = fmt::format("{}[{}]", path, i);
      if (!ReadInteger(node->items[i], side, 0, network::kExtentMax, &sides[i], problems)) return;
    }
    int vertical = sides[0], horizontal = sides[1];
    *padding = {false, vertical, vertical, horizontal, horizontal};
    return;
  }
  bool number = node->kind == Kind::kScalar && !node->text.empty() &&
                node->text.find_first_not_of("-0123456789") == std::string::npos;
  if (!number) {
    problems->Add(node->place, path,
                  Describe(*node) +
                      ", expected same, valid, a number of pixels, [vertical, "
                      "horizontal] or a map with top, bottom, left and right");
    return;
  }
  int64_t pixels;
  if (ReadInteger(*node, path, 0, network::kExtentMax, &pixels, problems)) {
    int side = pixels;
    *padding = {false, side, side, side, side};
  }
}

// ---- One function per kind. `value` is null where the layer is written as a word.
// ----------------

network::Conv ReadConv(const YamlNode* value, const YamlNode& layer, const std::string& path,
                       SpecProblems* problems) {
  network::Conv conv;
  if (value == nullptr) {
    problems->Add(layer.place, path, "found no filters, expected conv: {filters: 32, ...}");
    return conv;
  }
  Section section(value, path, "conv", problems);
  section.Require("filters", "how many there are");
  section.Integer("filters", 1, network::kFiltersMax, &conv.filters);
  ReadExtent(section.Find("kernel"), section.PathOf("kernel"), &conv.kernel, problems);
  ReadExtent(section.Find("stride"), section.PathOf("stride"), &conv.stride, problems);
  ReadPadding(section.Find("padding"), section.PathOf("padding"), &conv.padding, problems);
  section.Integer("groups", 1, network::kFiltersMax, &conv.groups);
  section.Boolean("bias", &conv.bias);
  return conv;
}

network::Pool ReadPool(network::PoolKind kind, const YamlNode* value, const std::string& path,
                       SpecProblems* problems) {
  network::Pool pool{.kind = kind};
  if (value == nullptr || value->kind == Kind::kNull) return pool;
  if (value->kind != Kind::kMap) {
    ReadExtent(value, path + ".kernel", &pool.kernel, problems);
    pool.stride = pool.kernel;
    return pool;
  }
  std::string_view name = kind == network::PoolKind::kMax ? "max_pool" : "avg_pool";
  Section section(value, path, name, problems);
  ReadExtent(section.Find("kernel"), section.PathOf("kernel"), &pool.kernel, problems);
  pool.stride = pool.kernel;
  ReadExtent(section.Find("stride"), section.PathOf("stride"), &pool.stride, problems);
  ReadPadding(section.Find("padding"), section.PathOf("padding"), &pool.padding, problems);
  return pool;
}

// A layer with one number that matters, written `dropout: 0.25` or `dropout: {rate: 0.25}`.
void ReadOneReal(const YamlNode* value, const std::string& path, std::string_view name, double* out,
                 SpecProblems* problems) {
  std::string_view key = SpecSectionNamed(name).short_for;
  if (value == nullptr) return;
  if (value->kind == Kind::kScalar) {
    ReadReal(*value, fmt::format("{}.{}", path, key), out, problems);
    return;
  }
  Section(value, path, name, problems).Real(key, out);
}

network::Dense ReadDense(const YamlNode* value, const YamlNode& layer, const std::string& path,
                         SpecProblems* problems) {
  network::Dense dense;
  if (value == nullptr || value->kind == Kind::kNull) {
    problems->Add(layer.place, path, "found no units, expected dense: 10 or dense: {units: 10}");
    return dense;
  }
  if (value->kind == Kind::kScalar) {
    int64_t units;
    if (ReadInteger(*value, path + ".units", 1, network::kUnitsMax, &units, problems)) {
      dense.units = units;
    }
    return dense;
  }
  Section section(value, path, "dense", problems);
  section.Require("units", "how many there are");
  section.Integer("units", 1, network::kUnitsMax, &dense.units);
  section.Boolean("bias", &dense.bias);
  return dense;
}

// What a projection must do to agree with the body: its filters, its stride, and whether it is
// followed by batch norm. No filters: the body changes no channels that could be known from here.
struct Projection {
  std::optional<int> filters;
  int64_t stride_height = 1, stride_width = 1;
  bool batch_norm = false;

  void Follow(const std::vector<Layer>& layers) {
    for (const Layer& layer : layers) {
      if (const auto* conv = std::get_if<network::Conv>(&layer.op)) {
        filters = conv->filters;
        Step(conv->stride);
      } else if (const auto* pool = std::get_if<network::Pool>(&layer.op)) {
        Step(pool->stride);
      } else if (const auto* residual = std::get_if<network::Residual>(&layer.op)) {
        Follow(residual->body);
      } else if (std::holds_alternative<network::BatchNorm>(layer.op)) {
        batch_norm = true;
      }
    }
  }

 private:
  // Capped where the checks would refuse it anyway.
  void Step(const Extent& stride) {
    stride_height = std::min<int64_t>(stride_height * stride.height, network::kExtentMax + 1);
    stride_width = std::min<int64_t>(stride_width * stride.width, network::kExtentMax + 1);
  }
};

std::vector<Layer> Project(const std::vector<Layer>& body, const YamlNode& node,
                           const std::string& path, SpecProblems* problems) {
  Projection projection;
  projection.Follow(body);
  if (!projection.filters) {
    problems->Add(node.place, path,
                  "found true, but no conv in the residual's layers that says "
                  "how many filters it needs: write its shortcut instead");
    return {};
  }
  network::Conv conv{.filters = *projection.filters,
                     .kernel = {1, 1},
                     .stride = {static_cast<int>(projection.stride_height),
                                static_cast<int>(projection.stride_width)}};
  conv.bias = !projection.batch_norm;
  std::vector<Layer> layers{Layer{conv}};
  if (projection.batch_norm) layers.push_back(Layer{network::BatchNorm{}});
  return layers;
}

network::Residual ReadResidual(const YamlNode* value, const YamlNode& layer,
                               const std::string& path, SpecProblems* problems) {
  network::Residual residual;
  if (value == nullptr || value->kind == Kind::kNull) {
    problems->Add(layer.place, path, "found no layers, expected residual: {layers: [...]}");
    return residual;
  }
  if (value->kind == Kind::kSequence) {
    residual.body = ReadLayers(*value, path + ".layers", problems);
    return residual;
  }
  Section section(value, path, "residual", problems);
  if (section.Require("layers", "a list of layers")) {
    residual.body = ReadLayers(*section.Find("layers"), section.PathOf("layers"), problems);
  }
  bool projection = false;
  section.Boolean("projection", &projection);
  if (const YamlNode* shortcut = section.Find("shortcut")) {
    if (projection) {
      section.Problem("projection", "found true beside a shortcut, expected one of them");
    }
    residual.shortcut = ReadLayers(*shortcut, section.PathOf("shortcut"), problems);
  } else if (projection) {
    residual.shortcut =
        Project(residual.body, *section.Find("projection"), section.PathOf("projection"), problems);
  }
  return residual;
}

std::optional<Layer> ReadKind(std::string_view kind, const YamlNode* value, const YamlNode& layer,
                              const std::string& path, SpecProblems* problems) {
  auto bare = [&](auto op) {
    Section(value, path, kind, problems);  // may be followed by nothing only
    return Layer{op};
  };
  if (kind == "conv") return Layer{ReadConv(value, layer, path, problems)};
  if (kind == "batch_norm") {
    network::BatchNorm norm;
    Section section(value, path, "batch_norm", problems);
    section.Real("momentum", &norm.momentum);
    section.Real("epsilon", &norm.epsilon);
    return Layer{norm};
  }
  if (kind == "relu") return bare(network::Relu{});
  if (kind == "leaky_relu") {
    network::Relu relu{.negative_slope = 0.01};
    ReadOneReal(value, path, kind, &relu.negative_slope, problems);
    return Layer{relu};
  }
  if (kind == "max_pool") return Layer{ReadPool(network::PoolKind::kMax, value, path, problems)};
  if (kind == "avg_pool") {
    return Layer{ReadPool(network::PoolKind::kAverage, value, path, problems)};
  }
  if (kind == "global_avg_pool") return bare(network::GlobalAvgPool{});
  if (kind == "dropout") {
    network::Dropout dropout;
    ReadOneReal(value, path, kind, &dropout.rate, problems);
    return Layer{dropout};
  }
  if (kind == "flatten") return bare(network::Flatten{});
  if (kind == "dense") return Layer{ReadDense(value, layer, path, problems)};
  if (kind == "residual") return Layer{ReadResidual(value, layer, path, problems)};
  return std::nullopt;
}

std::optional<Layer> ReadLayer(const YamlNode& node, const std::string& path,
                               SpecProblems* problems) {
  const SpecSection& kinds = SpecSectionNamed("layer");
  bool word = node.kind == Kind::kScalar;
  bool one_key = node.kind == Kind::kMap && node.entries.size() == 1;
  if (!word && !one_key) {
    std::string found = node.kind == Kind::kMap && node.entries.size() > 1
                            ? "found a map with " + std::to_string(node.entries.size()) +
                                  " keys (is the second line indented?)"
                            : Describe(node);
    problems->Add(node.place, path, found + ", expected one layer, such as - relu or - dense: 10");
    return std::nullopt;
  }
  const std::string& kind = word ? node.text : node.entries[0].key;
  const YamlNode* value = word ? nullptr : &node.entries[0].value;
  const Place& place = word ? node.place : node.entries[0].place;
  auto layer = ReadKind(kind, value, node, path + "." + kind, problems);
  if (layer) return layer;
  std::string_view nearest = NearestKey(kinds, kind);
  std::string hint = kind == "softmax" ? "leave it out: the loss contains it"
                     : nearest.empty() ? "expected " + JoinOr(kinds.keys)
                                       : fmt::format("did you mean {}?", nearest);
  problems->Add(place, path, fmt::format("found the unknown layer {}, {}", Quoted(kind), hint));
  return std::nullopt;
}

std::vector<Layer> ReadLayers(const YamlNode& node, const std::string& path,
                              SpecProblems* problems) {
  std::vector<Layer> layers;
  if (node.kind != Kind::kSequence) {
    problems->Add(node.place, path, Describe(node) + ", expected a list of layers");
    return layers;
  }
  for (size_t i = 0; i < node.items.size(); ++i) {
    // One that cannot be read keeps its place, so that the others keep their numbers.
    auto layer = ReadLayer(node.items[i], fmt::format("{}[{}]", path, i), problems);
    layers.push_back(layer.value_or(Layer{network::Relu{}}));
  }
  return layers;
}

}  // namespace

void ReadNetworkValue(const YamlNode& node, const std::string& path, network::Network* network,
                      SpecProblems* problems) {
  if (node.kind == Kind::kSequence) {
    network->layers = ReadLayers(node, path + ".layers", problems);
    return;
  }
  Section section(&node, path, "network", problems);
  if (const YamlNode* input = section.Find("input")) {
    v1::Image image;
    ReadImage(*input, section.PathOf("input"), &image, problems);
    network->input = {image.channels(), image.height(), image.width()};
  }
  if (section.Require("layers", "a list of layers")) {
    network->layers = ReadLayers(*section.Find("layers"), section.PathOf("layers"), problems);
  }
}

void ReadNetwork(const Section& root, network::Network* network, SpecProblems* problems) {
  if (!root.Require("network", "a map with the layers")) return;
  ReadNetworkValue(*root.Find("network"), "network", network, problems);
}

}  // namespace trainyard::coordinator
