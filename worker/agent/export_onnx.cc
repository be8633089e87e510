#include "worker/agent/export_onnx.h"

#include <onnx/onnx_pb.h>

#include <bit>
#include <map>
#include <set>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "network/shapes.h"

namespace trainyard::agent {
namespace {

using network::Shape;

static_assert(std::endian::native == std::endian::little, "ONNX raw data is little-endian");

constexpr int kIrVersion = 7;  // the one that came with opset 13
constexpr int kOpset = 13;
constexpr int64_t kProtobufLimit = (int64_t{1} << 31) - 1;

// A value on its way through the graph. `rank` is 4 (batch, c, h, w) or 2 (batch, values).
struct Value {
  std::string name;
  Shape shape;
  int rank = 4;
};

class Exporter {
 public:
  Exporter(const engine::Checkpoint& checkpoint, onnx::GraphProto* graph)
      : checkpoint_(checkpoint), graph_(graph) {
    size_t trained = 0, measured = 0;
    for (const network::Parameter& parameter : checkpoint.parameters) {
      size_t& offset = parameter.trainable() ? trained : measured;
      offsets_[parameter.name] = {&parameter, offset};
      offset += static_cast<size_t>(parameter.size());
    }
  }

  Value Normalise(const Value& input);
  Value Layers(const std::vector<network::Layer>& layers, const std::string& path, Value value);
  Value Flat(const Value& value);
  void Rename(const Value& value, const std::string& name);
  const std::string& problem() const { return problem_; }

 private:
  onnx::NodeProto* Node(const std::string& op, const std::vector<std::string>& inputs,
                        const std::string& output);
  std::string Constant(const std::string& name, const std::vector<int64_t>& dims,
                       const float* values, size_t count);
  std::string Constant(const std::string& name, const std::vector<int64_t>& values);
  std::string Weight(const std::string& name);
  Value Image(const Value& value);

  Value Emit(const network::Conv& conv, const std::string& path, const Value& x);
  Value Emit(const network::BatchNorm& norm, const std::string& path, const Value& x);
  Value Emit(const network::Relu& relu, const std::string& path, const Value& x);
  Value Emit(const network::Pool& pool, const std::string& path, const Value& x);
  Value Emit(const network::GlobalAvgPool&, const std::string& path, const Value& x);
  Value Emit(const network::Dropout&, const std::string&, const Value& x) { return x; }
  Value Emit(const network::Flatten&, const std::string&, const Value& x) { return Flat(x); }
  Value Emit(const network::Dense& dense, const std::string& path, const Value& x);
  Value Emit(const network::Residual& residual, const std::string& path, const Value& x);

  struct Place {
    const network::Parameter* parameter = nullptr;
    size_t offset = 0;
  };

  const engine::Checkpoint& checkpoint_;
  onnx::GraphProto* graph_;
  std::map<std::string, Place> offsets_;
  std::set<std::string> views_;  // values that exist in their other rank already
  std::string problem_;          // the first
};

void AddInts(onnx::NodeProto* node, const char* name, const std::vector<int64_t>& values) {
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INTS);
  for (const int64_t value : values) attribute->add_ints(value);
}

void AddInt(onnx::NodeProto* node, const char* name, int64_t value) {
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INT);
  attribute->set_i(value);
}

void AddFloat(onnx::NodeProto* node, const char* name, float value) {
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::FLOAT);
  attribute->set_f(value);
}

void AddWindow(onnx::NodeProto* node, const network::Extent& kernel, const network::Extent& stride,
               const network::Padding& padding, const Shape& input) {
  const network::Padding p = network::ResolvePadding(padding, input, kernel, stride);
  AddInts(node, "kernel_shape", {kernel.height, kernel.width});
  AddInts(node, "strides", {stride.height, stride.width});
  AddInts(node, "pads", {p.top, p.left, p.bottom, p.right});
}

onnx::NodeProto* Exporter::Node(const std::string& op, const std::vector<std::string>& inputs,
                                const std::string& output) {
  onnx::NodeProto* node = graph_->add_node();
  node->set_op_type(op);
  node->set_name(output);
  for (const std::string& input : inputs) node->add_input(input);
  node->add_output(output);
  return node;
}

std::string Exporter::Constant(const std::string& name, const std::vector<int64_t>& dims,
                               const float* values, size_t count) {
  onnx::TensorProto* tensor = graph_->add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(onnx::TensorProto::FLOAT);
  for (const int64_t dim : dims) tensor->add_dims(dim);
  tensor->set_raw_data(values, count * sizeof(float));
  return name;
}

std::string Exporter::Constant(const std::string& name, const std::vector<int64_t>& values) {
  onnx::TensorProto* tensor = graph_->add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(onnx::TensorProto::INT64);
  tensor->add_dims(static_cast<int64_t>(values.size()));
  for (const int64_t value : values) tensor->add_int64_data(value);
  return name;
}

std::string Exporter::Weight(const std::string& name) {
  const auto found = offsets_.find(name);
  if (found == offsets_.end()) {
    if (problem_.empty()) problem_ = absl::StrCat("the checkpoint has no tensor \"", name, "\"");
    return name;
  }
  const auto& [parameter, offset] = found->second;
  const std::vector<float>& span =
      parameter->trainable() ? checkpoint_.state.parameters : checkpoint_.state.statistics;
  const auto size = static_cast<size_t>(parameter->size());
  if (offset + size > span.size()) {
    if (problem_.empty()) {
      problem_ = absl::StrCat("the checkpoint holds ", span.size(), " values where tensor \"", name,
                              "\" ends at ", offset + size);
    }
    return name;
  }
  return Constant(name, parameter->dims, span.data() + offset, size);
}

// (pixel / 255 - mean) * inverse_std, as one subtraction and one multiplication.
Value Exporter::Normalise(const Value& input) {
  const auto channels = static_cast<int64_t>(checkpoint_.normalise_mean.size());
  std::vector<float> mean, scale;
  for (size_t c = 0; c < checkpoint_.normalise_mean.size(); ++c) {
    mean.push_back(checkpoint_.normalise_mean[c] * 255.0F);
    scale.push_back(checkpoint_.normalise_inverse_std[c] / 255.0F);
  }
  const std::vector<int64_t> dims{1, channels, 1, 1};
  Node("Sub", {input.name, Constant("normalise.mean", dims, mean.data(), mean.size())},
       "normalise.centred");
  Node("Mul", {"normalise.centred", Constant("normalise.scale", dims, scale.data(), scale.size())},
       "normalise.scaled");
  return {"normalise.scaled", input.shape, 4};
}

Value Exporter::Layers(const std::vector<network::Layer>& layers, const std::string& path,
                       Value value) {
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string name = absl::StrCat(path, ".", i);
    const Shape shape = network::OutputShape(layers[i], value.shape);
    value = std::visit([&](const auto& op) { return Emit(op, name, value); }, layers[i].op);
    value.shape = shape;
  }
  return value;
}

Value Exporter::Flat(const Value& value) {
  if (value.rank == 2) return value;
  const std::string name = value.name + ".flat";
  // Two branches may ask for the same value.
  if (views_.insert(name).second) AddInt(Node("Flatten", {value.name}, name), "axis", 1);
  return {name, {static_cast<int>(value.shape.size()), 1, 1}, 2};
}

// (batch, c) as (batch, c, 1, 1), for what works on images.
Value Exporter::Image(const Value& value) {
  if (value.rank == 4) return value;
  const std::string name = value.name + ".image";
  if (views_.insert(name).second) {
    Node("Unsqueeze", {value.name, Constant(name + ".axes", {2, 3})}, name);
  }
  return {name, value.shape, 4};
}

void Exporter::Rename(const Value& value, const std::string& name) {
  Node("Identity", {value.name}, name);
}

Value Exporter::Emit(const network::Conv& conv, const std::string& path, const Value& input) {
  const Value x = Image(input);
  std::vector<std::string> inputs{x.name, Weight(path + ".weight")};
  if (conv.bias) inputs.push_back(Weight(path + ".bias"));
  onnx::NodeProto* node = Node("Conv", inputs, path);
  AddWindow(node, conv.kernel, conv.stride, conv.padding, x.shape);
  AddInt(node, "group", conv.groups);
  return {path, {}, 4};
}

Value Exporter::Emit(const network::BatchNorm& norm, const std::string& path, const Value& x) {
  onnx::NodeProto* node = Node("BatchNormalization",
                               {x.name, Weight(path + ".gamma"), Weight(path + ".beta"),
                                Weight(path + ".running_mean"), Weight(path + ".running_var")},
                               path);
  AddFloat(node, "epsilon", static_cast<float>(norm.epsilon));
  return {path, {}, x.rank};
}

Value Exporter::Emit(const network::Relu& relu, const std::string& path, const Value& x) {
  if (relu.negative_slope == 0) {
    Node("Relu", {x.name}, path);
  } else {
    AddFloat(Node("LeakyRelu", {x.name}, path), "alpha", static_cast<float>(relu.negative_slope));
  }
  return {path, {}, x.rank};
}

Value Exporter::Emit(const network::Pool& pool, const std::string& path, const Value& input) {
  const Value x = Image(input);
  const bool average = pool.kind == network::PoolKind::kAverage;
  onnx::NodeProto* node = Node(average ? "AveragePool" : "MaxPool", {x.name}, path);
  AddWindow(node, pool.kernel, pool.stride, pool.padding, x.shape);
  if (average) AddInt(node, "count_include_pad", 0);
  return {path, {}, 4};
}

Value Exporter::Emit(const network::GlobalAvgPool&, const std::string& path, const Value& input) {
  Node("GlobalAveragePool", {Image(input).name}, path);
  return {path, {}, 4};
}

Value Exporter::Emit(const network::Dense& dense, const std::string& path, const Value& x) {
  std::vector<std::string> inputs{Flat(x).name, Weight(path + ".weight")};
  if (dense.bias) inputs.push_back(Weight(path + ".bias"));
  AddInt(Node("Gemm", inputs, path), "transB", 1);
  return {path, {}, 2};
}

Value Exporter::Emit(const network::Residual& residual, const std::string& path, const Value& x) {
  Value body = Layers(residual.body, path + ".body", x);
  Value shortcut = Layers(residual.shortcut, path + ".shortcut", x);
  if (body.rank != shortcut.rank) {
    body = Flat(body);
    shortcut = Flat(shortcut);
  }
  Node("Add", {body.name, shortcut.name}, path);
  return {path, {}, body.rank};
}

void Declare(onnx::ValueInfoProto* value, const std::string& name,
             const std::vector<int64_t>& dims) {
  value->set_name(name);
  onnx::TypeProto::Tensor* tensor = value->mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(onnx::TensorProto::FLOAT);
  tensor->mutable_shape()->add_dim()->set_dim_param("batch");
  for (const int64_t dim : dims) tensor->mutable_shape()->add_dim()->set_dim_value(dim);
}

void AddMetadata(onnx::ModelProto* model, const std::string& key, const std::string& value) {
  onnx::StringStringEntryProto* entry = model->add_metadata_props();
  entry->set_key(key);
  entry->set_value(value);
}

}  // namespace

absl::StatusOr<std::string> ExportOnnx(
    const network::Network& network, const engine::Checkpoint& checkpoint, const std::string& name,
    const std::vector<std::pair<std::string, std::string>>& metadata) {
  const Shape& input = network.input;
  if (static_cast<int>(checkpoint.normalise_mean.size()) != input.channels ||
      checkpoint.normalise_inverse_std.size() != checkpoint.normalise_mean.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("ONNX export: the checkpoint normalises ", checkpoint.normalise_mean.size(),
                     " channels, the network takes ", input.channels));
  }
  onnx::ModelProto model;
  model.set_ir_version(kIrVersion);
  model.add_opset_import()->set_version(kOpset);
  model.set_producer_name("trainyard");
  const std::string about = absl::StrCat(
      "input: float (batch, ", input.channels, ", ", input.height, ", ", input.width,
      "), pixels from 0 to 255 as they are; normalisation is part of the model. logits: float "
      "(batch, ",
      network.classes, "), before softmax.");
  model.set_doc_string(about);
  onnx::GraphProto* graph = model.mutable_graph();
  graph->set_name(name.empty() ? "network" : name);
  Declare(graph->add_input(), "input", {input.channels, input.height, input.width});
  Declare(graph->add_output(), "logits", {network.classes});

  Exporter exporter(checkpoint, graph);
  const Value last = exporter.Flat(
      exporter.Layers(network.layers, "layers", exporter.Normalise({"input", input})));
  exporter.Rename(last, "logits");
  if (!exporter.problem().empty()) {
    return absl::InvalidArgumentError(absl::StrCat("ONNX export: ", exporter.problem()));
  }
  AddMetadata(&model, "trainyard.input", about);
  for (const auto& [key, value] : metadata) AddMetadata(&model, key, value);
  const auto size = static_cast<int64_t>(model.ByteSizeLong());
  if (size > kProtobufLimit) {
    return absl::InvalidArgumentError(absl::StrCat("ONNX export: the model takes ", size,
                                                   " bytes, the format allows ", kProtobufLimit));
  }
  return model.SerializeAsString();
}

}  // namespace trainyard::agent
