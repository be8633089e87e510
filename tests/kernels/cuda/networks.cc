#include "tests/kernels/cuda/networks.h"

namespace trainyard::kernels::testing {
namespace {

constexpr Pad kSame = {1, 1, 1, 1};

int ConvNorm(GraphMaker& maker, int from, int filters, int kernel, int stride, int groups = 1) {
  const Pad pad = kernel == 3 ? kSame : Pad{};
  return maker.BatchNorm(
      maker.Conv(from, filters, kernel, kernel, stride, stride, pad, groups, false));
}

}  // namespace

Graph ResidualNet(int batch_size, int width) {
  GraphMaker maker({3, 8, 8}, batch_size, 5);
  int x = maker.Relu(ConvNorm(maker, 0, width, 3, 1));
  int body = ConvNorm(maker, maker.Relu(ConvNorm(maker, x, width, 3, 1)), width, 3, 1);
  x = maker.Relu(maker.Add(body, x));
  body = ConvNorm(maker, maker.Relu(ConvNorm(maker, x, 2 * width, 3, 2)), 2 * width, 3, 1);
  x = maker.Relu(maker.Add(body, ConvNorm(maker, x, 2 * width, 1, 2)));
  maker.Linear(maker.GlobalAvgPool(x), 5);
  return maker.graph();
}

Graph SeparableNet(int batch_size, int width) {
  GraphMaker maker({3, 8, 8}, batch_size, 5);
  int x = maker.Relu(ConvNorm(maker, 0, width, 3, 1));
  x = maker.Relu(ConvNorm(maker, x, width, 3, 1, width));
  x = maker.Relu(ConvNorm(maker, x, width + 4, 1, 1));
  x = maker.Relu(maker.Conv(x, 2 * width + 8, 3, 3, 2, 2, kSame, width + 4, true));
  x = maker.Relu(maker.Conv(x, width, 1, 1, 1, 1, {}, 1, true), 0.125f);
  maker.Linear(maker.GlobalAvgPool(x), 5);
  return maker.graph();
}

Graph EveryOpNet(int batch_size) {
  GraphMaker maker({3, 9, 8}, batch_size, 5);
  int x = maker.Relu(maker.Conv(0, 16, 3, 3, 1, 1, kSame, 1, true));
  const int skip = maker.Pool(x, OpKind::kAvgPool, 2, 2, 1, 1, {1, 0, 1, 0});
  int body = maker.BatchNorm(maker.Conv(skip, 16, 3, 3, 1, 1, kSame, 2, true));
  x = maker.Relu(maker.Add(body, skip), 0.125f);
  x = maker.Pool(maker.Dropout(x), OpKind::kMaxPool, 3, 3, 2, 2, {1, 0, 1, 1});
  x = maker.Add(maker.Relu(x), maker.Dropout(x));
  body = maker.Conv(x, 16, 3, 3, 1, 1, kSame, 16, false);
  x = maker.Add(maker.Add(body, x), x);
  x = maker.Relu(maker.BatchNorm(maker.Conv(x, 12, 1, 1, 1, 1, {}, 1, false)));
  x = maker.Add(x, x);
  x = maker.Add(maker.BatchNorm(x), x);
  const int pooled = maker.GlobalAvgPool(x);
  const int dense = maker.Dropout(maker.Relu(maker.Linear(x, 12)));
  x = maker.BatchNorm(maker.Linear(maker.Add(pooled, dense), 12, false));
  maker.Linear(maker.Relu(x), 5);
  return maker.graph();
}

Graph WithoutKinks(Graph graph) {
  for (Op& op : graph.ops) {
    if (op.kind == OpKind::kRelu) op.negative_slope = 0.875f;
    if (op.kind == OpKind::kMaxPool) op.kind = OpKind::kAvgPool;
  }
  return graph;
}

}  // namespace trainyard::kernels::testing
