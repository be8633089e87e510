// Graphs, images and states for tests of the backends, made from a seed.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/graph.h"

namespace trainyard::kernels::testing {

struct Pad {
  int top = 0, bottom = 0, left = 0, right = 0;
};

// Builds a graph op by op; every function returns the new value's id.
class GraphMaker {
 public:
  GraphMaker(ValueShape input, int batch_size, int classes);

  int Conv(int from, int filters, int kernel_h, int kernel_w, int stride_h, int stride_w, Pad pad,
           int groups, bool bias);
  int Conv3x3(int from, int filters);  // padding 1, bias
  int BatchNorm(int from);
  int Relu(int from, float slope = 0);
  int Pool(int from, OpKind kind, int kernel_h, int kernel_w, int stride_h, int stride_w, Pad pad);
  int GlobalAvgPool(int from);
  int Dropout(int from);
  int Linear(int from, int units, bool bias = true);
  int Add(int a, int b);

  const ValueShape& shape(int value) const { return graph_.values[value]; }
  int dropouts() const { return dropouts_; }
  const Graph& graph() const { return graph_; }

 private:
  int Append(Op op, ValueShape out);
  int64_t Parameters(int64_t size, bool decays);

  Graph graph_;
  int dropouts_ = 0;
};

// A random stack of layers that ends in a linear layer: residual additions, groups, strides,
// asymmetric padding, odd channel counts, every op.
Graph RandomGraph(uint64_t seed);

// conv 3x3x32, ReLU, conv 3x3x64, ReLU, max pool 2, dropout, dense 128, ReLU, dropout, dense 10.
Graph KerasCnn(int batch_size);

// Random pixels and labels. Not copyable: `set` points into it.
struct Images {
  Images(const Graph& graph, int count, uint64_t seed);
  Images(const Images&) = delete;
  std::vector<uint8_t> pixels;
  std::vector<int32_t> labels;
  ImageSet set;
};

// Parameters drawn so that activations neither vanish nor explode: every value a multiple of 2^-16,
// so that tests can perturb it exactly.
ProgramState RandomState(const Graph& graph, uint64_t seed);

// 0 .. count - 1.
std::vector<int32_t> FirstIndices(int count);

// Learning rate 0, momentum 0: a step that only computes.
StepScalars StillScalars(const std::vector<float>& dropout_rates);

}  // namespace trainyard::kernels::testing
