// Weights of a network, and what it costs to run one.
#include <algorithm>

#include "network/arithmetic.h"
#include "network/shapes.h"

namespace trainyard::network {
namespace {

using Role = Parameter::Role;

constexpr int64_t kBf16Bytes = 2;

int64_t Area(const Extent& extent) { return int64_t{extent.height} * extent.width; }

// Calls visit(layer, input shape, output shape, path) for each layer, innermost before the residual
// that holds it; path is "layers.4.body.1". Returns the shape behind the last one.
template <class Visit>
Shape Walk(const std::vector<Layer>& layers, const std::string& path, Shape shape,
           const Visit& visit) {
  for (size_t i = 0; i < layers.size(); ++i) {
    std::string here = path + "." + std::to_string(i);
    if (const auto* residual = std::get_if<Residual>(&layers[i].op)) {
      Walk(residual->body, here + ".body", shape, visit);
      Walk(residual->shortcut, here + ".shortcut", shape, visit);
    }
    Shape output = OutputShape(layers[i], shape);
    visit(layers[i], shape, output, here);
    shape = output;
  }
  return shape;
}

struct ParametersOf {
  const Shape& input;
  const std::string& path;
  std::vector<Parameter>& out;

  void operator()(const Conv& conv) const {
    int64_t area = Area(conv.kernel);
    int64_t channels = input.channels / conv.groups;
    AddWeights({conv.filters, channels, conv.kernel.height, conv.kernel.width}, channels * area,
               conv.filters * area, conv.bias);
  }
  void operator()(const Dense& dense) const {
    AddWeights({dense.units, input.channels}, input.channels, dense.units, dense.bias);
  }
  void operator()(const BatchNorm&) const {
    out.push_back({path + ".gamma", Role::kGamma, {input.channels}});
    out.push_back({path + ".beta", Role::kBeta, {input.channels}});
    out.push_back({path + ".running_mean", Role::kRunningMean, {input.channels}});
    out.push_back({path + ".running_var", Role::kRunningVar, {input.channels}});
  }
  template <class WithoutWeights>
  void operator()(const WithoutWeights&) const {}

 private:
  void AddWeights(std::vector<int64_t> dims, int64_t fan_in, int64_t fan_out, bool bias) const {
    int64_t outputs = dims[0];
    out.push_back({path + ".weight", Role::kWeight, std::move(dims), fan_in, fan_out});
    if (bias) out.push_back({path + ".bias", Role::kBias, {outputs}, fan_in, fan_out});
  }
};

struct FlopsOf {
  const Shape& input;
  const Shape& output;

  double operator()(const Conv& conv) const {
    double per_value = 2.0 * (input.channels / conv.groups) * Area(conv.kernel) + conv.bias;
    return per_value * output.size();
  }
  double operator()(const Dense& dense) const {
    return (2.0 * input.size() + dense.bias) * dense.units;
  }
  double operator()(const BatchNorm&) const { return 2.0 * output.size(); }
  double operator()(const Relu&) const { return output.size(); }
  double operator()(const Pool& pool) const { return double(Area(pool.kernel)) * output.size(); }
  double operator()(const GlobalAvgPool&) const { return input.size(); }
  double operator()(const Residual&) const { return output.size(); }  // the sum; layers by Walk
  double operator()(const Dropout&) const { return 0; }
  double operator()(const Flatten&) const { return 0; }
};

}  // namespace

int64_t Parameter::size() const {
  int64_t size = 1;
  for (int64_t dim : dims) size = SaturatingMultiply(size, dim);
  return size;
}

std::vector<Parameter> Parameters(const Network& network) {
  std::vector<Parameter> parameters;
  Walk(network.layers, "layers", network.input,
       [&](const Layer& layer, const Shape& input, const Shape&, const std::string& path) {
         std::visit(ParametersOf{input, path, parameters}, layer.op);
       });
  return parameters;
}

int64_t ParameterCount(const Network& network) {
  int64_t count = 0;
  for (const Parameter& parameter : Parameters(network)) {
    if (parameter.trainable()) count = SaturatingAdd(count, parameter.size());
  }
  return count;
}

double ForwardFlops(const Network& network) {
  double flops = 0;
  Walk(network.layers, "layers", network.input,
       [&](const Layer& layer, const Shape& input, const Shape& output, const std::string&) {
         flops += std::visit(FlopsOf{input, output}, layer.op);
       });
  return flops;
}

int64_t TrainingBytes(const Network& network, const Training& training) {
  const bool low = training.precision == Precision::kBf16;
  const int64_t per_parameter = int64_t{4 * sizeof(float)} + (low ? kBf16Bytes : 0);
  int64_t activations = network.input.size();
  int64_t largest = activations;
  Walk(network.layers, "layers", network.input,
       [&](const Layer&, const Shape&, const Shape& output, const std::string&) {
         activations = SaturatingAdd(activations, output.size());
         largest = std::max(largest, output.size());
       });
  int64_t per_image = SaturatingAdd(activations, SaturatingMultiply(2, largest));
  const int64_t value_bytes = low ? kBf16Bytes : int64_t{sizeof(float)};
  return SaturatingAdd(
      SaturatingMultiply(per_parameter, ParameterCount(network)),
      SaturatingMultiply(SaturatingMultiply(per_image, training.batch_size), value_bytes));
}

}  // namespace trainyard::network
