#include "tests/kernels/cuda/cudnn/layers.h"

#include <iterator>
#include <set>
#include <string>

#include "tests/kernels/cuda/networks.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using kernels::testing::GraphMaker;
using kernels::testing::Pad;

int ConvNorm(GraphMaker& maker, int from, int filters, int kernel, int stride) {
  const int pad = kernel / 2;
  return maker.BatchNorm(
      maker.Conv(from, filters, kernel, kernel, stride, stride, {pad, pad, pad, pad}, 1, false));
}

int ConvNormRelu(GraphMaker& maker, int from, int filters, int kernel, int stride) {
  return maker.Relu(ConvNorm(maker, from, filters, kernel, stride));
}

int Halve(GraphMaker& maker, int from) {
  return maker.Pool(from, OpKind::kMaxPool, 2, 2, 2, 2, {});
}

int Residual(GraphMaker& maker, int from, int filters) {
  const int body = ConvNormRelu(maker, from, filters, 3, 1);
  return maker.Add(ConvNormRelu(maker, body, filters, 3, 1), from);
}

int Bottleneck(GraphMaker& maker, int from, int width, int stride) {
  const int narrow = ConvNormRelu(maker, from, width, 1, 1);
  const int body = ConvNorm(maker, ConvNormRelu(maker, narrow, width, 3, stride), 4 * width, 1, 1);
  const bool projects = stride != 1 || maker.shape(from).channels != 4 * width;
  const int skip = projects ? ConvNorm(maker, from, 4 * width, 1, stride) : from;
  return maker.Relu(maker.Add(body, skip));
}

ConvGraph GraphOf(ConvPass pass, const Layer& layer, Precision precision) {
  ConvGraph graph;
  graph.pass = pass;
  graph.shape = layer.shape;
  graph.precision = precision;
  return graph;
}

Layer LayerOf(const Graph& graph, const Op& op) {
  const ValueShape &in = graph.values[op.inputs[0]], &out = graph.values[op.output];
  Layer layer;
  layer.shape = {graph.batch_size, in.height,    in.width,    in.channels, out.height,
                 out.width,        out.channels, op.kernel_h, op.kernel_w, op.stride_h,
                 op.stride_w,      op.pad_top,   op.pad_left, op.groups};
  layer.bias = op.offsets.bias >= 0;
  for (const Op& next : graph.ops) {
    if (next.kind != OpKind::kRelu || next.inputs[0] != op.output) continue;
    layer.relu = true;
    layer.slope = next.negative_slope;
  }
  return layer;
}

}  // namespace

Graph FashionNet(int batch) {
  GraphMaker maker({1, 28, 28}, batch, 10);
  int x = Halve(maker, ConvNormRelu(maker, 0, 16, 3, 1));
  x = Halve(maker, ConvNormRelu(maker, x, 32, 3, 1));
  maker.Linear(ConvNormRelu(maker, x, 64, 3, 1), 10);
  return maker.graph();
}

Graph ResNet9(int batch) {
  GraphMaker maker({3, 32, 32}, batch, 10);
  int x = Halve(maker, ConvNormRelu(maker, ConvNormRelu(maker, 0, 64, 3, 1), 128, 3, 1));
  x = Halve(maker, ConvNormRelu(maker, Residual(maker, x, 128), 256, 3, 1));
  x = Halve(maker, ConvNormRelu(maker, x, 512, 3, 1));
  maker.Linear(maker.GlobalAvgPool(Residual(maker, x, 512)), 10);
  return maker.graph();
}

Graph ResNet50(int batch, int image) {
  GraphMaker maker({3, image, image}, batch, 1000);
  int x = ConvNormRelu(maker, 0, 64, 7, 2);
  x = maker.Pool(x, OpKind::kMaxPool, 3, 3, 2, 2, {1, 1, 1, 1});
  int width = 64;
  for (const int blocks : {3, 4, 6, 3}) {
    for (int i = 0; i < blocks; ++i) {
      x = Bottleneck(maker, x, width, i == 0 && width > 64 ? 2 : 1);
    }
    width *= 2;
  }
  maker.Linear(maker.GlobalAvgPool(x), 1000);
  return maker.graph();
}

std::vector<Layer> LayersOf(const Graph& graph) {
  std::vector<Layer> layers;
  std::set<std::string> seen;
  for (const Op& op : graph.ops) {
    if (op.kind != OpKind::kConv || op.groups != 1) continue;
    const Layer layer = LayerOf(graph, op);
    if (layer.shape.in_c < 16 || layer.shape.out_c < 16) continue;
    if (seen.insert(Forward(layer, Precision::kFp32).Key()).second) layers.push_back(layer);
  }
  return layers;
}

std::vector<Layer> AllLayers() {
  std::vector<Layer> all;
  for (const Graph& graph :
       {FashionNet(128), ResNet9(512), ResNet50(128, 32), ResNet50(256, 224),
        kernels::testing::KerasCnn(128), kernels::testing::ResidualNet(16, 16),
        kernels::testing::SeparableNet(16, 24), kernels::testing::EveryOpNet(8)}) {
    const std::vector<Layer> layers = LayersOf(graph);
    std::copy(layers.begin(), layers.end(), std::back_inserter(all));
  }
  return all;
}

ConvGraph Forward(const Layer& layer, Precision precision) {
  ConvGraph graph = GraphOf(ConvPass::kForward, layer, precision);
  graph.bias = layer.bias;
  graph.relu = layer.relu;
  graph.slope = layer.slope;
  return graph;
}

ConvGraph BackwardFilter(const Layer& layer, Precision precision) {
  return GraphOf(ConvPass::kBackwardFilter, layer, precision);
}

ConvGraph BackwardData(const Layer& layer, Precision precision, bool accumulate) {
  ConvGraph graph = GraphOf(ConvPass::kBackwardData, layer, precision);
  graph.accumulate = accumulate;
  return graph;
}

}  // namespace trainyard::kernels::cuda::testing
