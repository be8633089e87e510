#include "tests/kernels/graphs.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace trainyard::kernels::testing {
namespace {

using Random = std::mt19937_64;

int Below(Random& random, int count) { return static_cast<int>(random() % count); }
bool Chance(Random& random, int percent) { return Below(random, 100) < percent; }

Op MakeOp(OpKind kind, std::vector<int> inputs) {
  Op op;
  op.kind = kind;
  op.inputs = std::move(inputs);
  return op;
}

}  // namespace

GraphMaker::GraphMaker(ValueShape input, int batch_size, int classes) {
  graph_.batch_size = batch_size;
  graph_.classes = classes;
  graph_.values.push_back(input);
}

int GraphMaker::Append(Op op, ValueShape out) {
  op.output = static_cast<int>(graph_.values.size());
  op.layer = static_cast<int>(graph_.ops.size());
  op.name = "layers." + std::to_string(op.layer);
  graph_.values.push_back(out);
  graph_.ops.push_back(std::move(op));
  return graph_.ops.back().output;
}

int64_t GraphMaker::Parameters(int64_t size, bool decays) {
  graph_.slices.push_back({graph_.parameter_count, size, decays});
  graph_.parameter_count += size;
  return graph_.slices.back().offset;
}

int GraphMaker::Conv(int from, int filters, int kernel_h, int kernel_w, int stride_h, int stride_w,
                     Pad pad, int groups, bool bias) {
  const ValueShape in = shape(from);
  Op op = MakeOp(OpKind::kConv, {from});
  op.kernel_h = kernel_h;
  op.kernel_w = kernel_w;
  op.stride_h = stride_h;
  op.stride_w = stride_w;
  op.pad_top = pad.top;
  op.pad_bottom = pad.bottom;
  op.pad_left = pad.left;
  op.pad_right = pad.right;
  op.groups = groups;
  op.offsets.weight =
      Parameters(int64_t{filters} * (in.channels / groups) * kernel_h * kernel_w, true);
  if (bias) op.offsets.bias = Parameters(filters, false);
  return Append(op, {filters, (in.height + pad.top + pad.bottom - kernel_h) / stride_h + 1,
                     (in.width + pad.left + pad.right - kernel_w) / stride_w + 1});
}

int GraphMaker::Conv3x3(int from, int filters) {
  return Conv(from, filters, 3, 3, 1, 1, {1, 1, 1, 1}, 1, true);
}

int GraphMaker::BatchNorm(int from) {
  const int channels = shape(from).channels;
  Op op = MakeOp(OpKind::kBatchNorm, {from});
  op.momentum = 0.9f;
  // Over few values, the deviation may be next to nothing; dividing by it blows up rounding errors
  // of any float backend.
  const ValueShape& in = shape(from);
  const int64_t count = int64_t{graph_.batch_size} * in.height * in.width;
  op.epsilon = count < 128 ? 1.0f : 1e-5f;
  op.offsets.weight = Parameters(channels, false);
  op.offsets.bias = Parameters(channels, false);
  op.offsets.running_mean = graph_.statistic_count;
  op.offsets.running_var = graph_.statistic_count + channels;
  graph_.statistic_count += 2 * channels;
  return Append(op, shape(from));
}

int GraphMaker::Relu(int from, float slope) {
  Op op = MakeOp(OpKind::kRelu, {from});
  op.negative_slope = slope;
  return Append(op, shape(from));
}

int GraphMaker::Pool(int from, OpKind kind, int kernel_h, int kernel_w, int stride_h, int stride_w,
                     Pad pad) {
  const ValueShape in = shape(from);
  Op op = MakeOp(kind, {from});
  op.kernel_h = kernel_h;
  op.kernel_w = kernel_w;
  op.stride_h = stride_h;
  op.stride_w = stride_w;
  op.pad_top = pad.top;
  op.pad_bottom = pad.bottom;
  op.pad_left = pad.left;
  op.pad_right = pad.right;
  return Append(op, {in.channels, (in.height + pad.top + pad.bottom - kernel_h) / stride_h + 1,
                     (in.width + pad.left + pad.right - kernel_w) / stride_w + 1});
}

int GraphMaker::GlobalAvgPool(int from) {
  return Append(MakeOp(OpKind::kGlobalAvgPool, {from}), {shape(from).channels, 1, 1});
}

int GraphMaker::Dropout(int from) {
  Op op = MakeOp(OpKind::kDropout, {from});
  op.dropout = dropouts_++;
  return Append(op, shape(from));
}

int GraphMaker::Linear(int from, int units, bool bias) {
  Op op = MakeOp(OpKind::kLinear, {from});
  op.offsets.weight = Parameters(shape(from).size() * units, true);
  if (bias) op.offsets.bias = Parameters(units, false);
  return Append(op, {units, 1, 1});
}

int GraphMaker::Add(int a, int b) { return Append(MakeOp(OpKind::kAdd, {a, b}), shape(a)); }

namespace {

// A kernel, stride and padding that fit the input along one axis, every window touching the image.
struct Axis {
  int kernel, stride, before, after;
};

Axis RandomAxis(Random& random, int size) {
  Axis axis;
  axis.kernel = 1 + Below(random, std::min(size, 5));
  axis.stride = 1 + Below(random, 2);
  axis.before = Below(random, axis.kernel);
  axis.after = Below(random, axis.kernel);
  return axis;
}

int RandomConv(GraphMaker& maker, Random& random, int value) {
  static constexpr int kFilters[] = {1, 3, 5, 8, 12, 16, 17, 32, 33};
  const int channels = maker.shape(value).channels;
  int filters = kFilters[Below(random, 9)], groups = 1;
  if (Chance(random, 25)) {
    groups = channels;  // depthwise, maybe with a multiplier
    filters = channels * (1 + Below(random, 2));
  } else if (channels % 2 == 0 && Chance(random, 25)) {
    groups = 2;
    filters = 2 * (1 + Below(random, 9));
  }
  const Axis y = RandomAxis(random, maker.shape(value).height);
  const Axis x = RandomAxis(random, maker.shape(value).width);
  return maker.Conv(value, filters, y.kernel, x.kernel, y.stride, x.stride,
                    {y.before, y.after, x.before, x.after}, groups, Chance(random, 60));
}

int RandomPool(GraphMaker& maker, Random& random, int value) {
  const Axis y = RandomAxis(random, maker.shape(value).height);
  const Axis x = RandomAxis(random, maker.shape(value).width);
  return maker.Pool(value, Chance(random, 60) ? OpKind::kMaxPool : OpKind::kAvgPool, y.kernel,
                    x.kernel, y.stride, x.stride, {y.before, 0, x.before, 0});
}

// body(x) + x, or + a strided 1x1 convolution of x, or x + x.
int RandomResidual(GraphMaker& maker, Random& random, int value) {
  if (Chance(random, 10)) return maker.Add(value, value);
  const int channels = maker.shape(value).channels;
  const bool projects = Chance(random, 40);
  const int filters = projects ? 1 + Below(random, 20) : channels, stride = projects ? 2 : 1;
  int body = maker.Conv(value, filters, 3, 3, stride, stride, {1, 1, 1, 1}, 1, false);
  body = maker.BatchNorm(body);
  if (Chance(random, 50)) body = maker.Conv3x3(maker.Relu(body), filters);
  const int shortcut =
      projects ? maker.Conv(value, filters, 1, 1, 2, 2, {}, 1, Chance(random, 50)) : value;
  return Chance(random, 50) ? maker.Add(body, shortcut) : maker.Add(shortcut, body);
}

int RandomLayer(GraphMaker& maker, Random& random, int value) {
  switch (Below(random, 9)) {
    case 0:
    case 1:
    case 2:
      return RandomConv(maker, random, value);
    case 3:
      return maker.BatchNorm(value);
    case 4:
      return maker.Relu(value, Chance(random, 70) ? 0.0f : 0.125f);
    case 5:
      return RandomPool(maker, random, value);
    case 6:
      return maker.Dropout(value);
    case 7:
      return RandomResidual(maker, random, value);
    default:
      return maker.Relu(RandomConv(maker, random, value));
  }
}

}  // namespace

Graph RandomGraph(uint64_t seed) {
  Random random(seed);
  const int classes = 2 + Below(random, 9);
  static constexpr int kChannels[] = {1, 2, 3, 4, 7, 16};
  GraphMaker maker({kChannels[Below(random, 6)], 1 + Below(random, 12), 1 + Below(random, 12)},
                   1 + Below(random, 9), classes);
  int value = 0;
  for (int layers = Below(random, 8); layers > 0; --layers) {
    value = RandomLayer(maker, random, value);
  }
  if (Chance(random, 40)) value = maker.GlobalAvgPool(value);
  for (int hidden = Below(random, 3); hidden > 0; --hidden) {
    value = maker.Linear(value, 1 + Below(random, 40), Chance(random, 70));
    if (Chance(random, 40)) value = maker.BatchNorm(value);
    value = maker.Relu(value);
    if (Chance(random, 40)) value = maker.Dropout(value);
  }
  maker.Linear(value, classes, Chance(random, 80));
  return maker.graph();
}

Graph KerasCnn(int batch_size) {
  GraphMaker maker({1, 28, 28}, batch_size, 10);
  int value = maker.Relu(maker.Conv(0, 32, 3, 3, 1, 1, {}, 1, true));
  value = maker.Relu(maker.Conv(value, 64, 3, 3, 1, 1, {}, 1, true));
  value = maker.Dropout(maker.Pool(value, OpKind::kMaxPool, 2, 2, 2, 2, {}));
  value = maker.Dropout(maker.Relu(maker.Linear(value, 128)));
  maker.Linear(value, 10);
  return maker.graph();
}

Images::Images(const Graph& graph, int count, uint64_t seed) {
  Random random(seed);
  pixels.resize(count * graph.values[0].size());
  for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(random());
  for (int i = 0; i < count; ++i) labels.push_back(Below(random, graph.classes));
  set = {pixels, labels, graph.values[0]};
}

ProgramState RandomState(const Graph& graph, uint64_t seed) {
  Random random(seed);
  std::normal_distribution<double> normal;
  auto rounded = [](double value) { return static_cast<float>(std::round(value * 65536) / 65536); };
  ProgramState state;
  state.parameters.resize(graph.parameter_count);
  state.statistics.resize(graph.statistic_count);
  for (const Op& op : graph.ops) {
    const ValueShape &in = graph.values[op.inputs[0]], &out = graph.values[op.output];
    auto fill = [&](int64_t offset, int64_t size, double mean, double std) {
      if (offset < 0) return;
      for (int64_t i = offset; i < offset + size; ++i) {
        state.parameters[i] = rounded(mean + std * normal(random));
      }
    };
    if (op.kind == OpKind::kConv) {
      const int64_t fan_in = int64_t{in.channels} / op.groups * op.kernel_h * op.kernel_w;
      fill(op.offsets.weight, fan_in * out.channels, 0, std::sqrt(2.0 / fan_in));
      fill(op.offsets.bias, out.channels, 0, 0.1);
    } else if (op.kind == OpKind::kLinear) {
      fill(op.offsets.weight, in.size() * out.size(), 0, std::sqrt(2.0 / in.size()));
      fill(op.offsets.bias, out.size(), 0, 0.1);
    } else if (op.kind == OpKind::kBatchNorm) {
      fill(op.offsets.weight, in.channels, 1, 0.1);
      fill(op.offsets.bias, in.channels, 0, 0.1);
      for (int c = 0; c < in.channels; ++c) {
        state.statistics[op.offsets.running_mean + c] = rounded(0.1 * normal(random));
        state.statistics[op.offsets.running_var + c] = rounded(1 + 0.1 * std::abs(normal(random)));
      }
    }
  }
  state.moment1.assign(graph.parameter_count, 0.0f);
  state.moment2.assign(graph.parameter_count, 0.0f);
  return state;
}

std::vector<int32_t> FirstIndices(int count) {
  std::vector<int32_t> indices(count);
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

StepScalars StillScalars(const std::vector<float>& dropout_rates) {
  StepScalars scalars;
  scalars.dropout_rates = dropout_rates;
  return scalars;
}

}  // namespace trainyard::kernels::testing
