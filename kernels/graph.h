// The op graph of one network: what is computed, before a backend decides how.
//
// Values are NCHW tensors of float, numbered; value 0 is the network's (augmented, normalised)
// input. Ops stand in topological order; the last op's output is the logits. The backward pass is
// implied: each op has one known derivative, taken in reverse order. `worker/engine/planner` builds
// it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trainyard::kernels {

enum class OpKind {
  kConv,
  kBatchNorm,
  kRelu,
  kMaxPool,
  kAvgPool,  // padded pixels are left out of the mean
  kGlobalAvgPool,
  kDropout,
  kLinear,  // on the flattened input (c, h, w)
  kAdd,
};

// Size of one value for one image; the batch is the graph's.
struct ValueShape {
  int channels = 0, height = 0, width = 0;
  int64_t size() const { return int64_t{channels} * height * width; }
};

// Offsets of an op's tensors in the flat spans, in floats; -1: the op has no such tensor.
struct ParameterOffsets {
  int64_t weight = -1;        // in parameters; conv weights or gamma or linear weights
  int64_t bias = -1;          // in parameters; bias or beta
  int64_t running_mean = -1;  // in statistics
  int64_t running_var = -1;   // in statistics
};

struct Op {
  OpKind kind{};
  std::vector<int> inputs;  // value ids; two for kAdd
  int output = -1;          // value id
  ParameterOffsets offsets;
  int layer = 0;  // position in the flattened network: the Philox "layer" of dropout masks
  // Conv and pools.
  int kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1;
  int pad_top = 0, pad_bottom = 0, pad_left = 0, pad_right = 0;
  int groups = 1;
  float negative_slope = 0;         // kRelu
  float momentum = 0, epsilon = 0;  // kBatchNorm, meaning as in network/network.h
  int dropout = -1;                 // kDropout: index into StepScalars::dropout_rates
  std::string name;                 // "layers.3.body.0", for messages and profiles
};

struct Graph {
  int batch_size = 0;  // the largest batch; a program also runs any smaller one
  int classes = 0;
  std::vector<ValueShape> values;
  std::vector<Op> ops;
  int64_t parameter_count = 0;  // floats in the parameter (and gradient, and moment) span
  int64_t statistic_count = 0;  // floats in the running statistics span
  struct Slice {
    int64_t offset = 0;
    int64_t size = 0;
    bool decays = false;
  };
  std::vector<Slice> slices;  // parameter tensors in order, covering the parameter span
};

}  // namespace trainyard::kernels
