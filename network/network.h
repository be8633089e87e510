// What a CNN is: its layers, in order, as a user writes them in a spec.
//
// A Network is a plain value. `network/shapes.h` infers shapes, lists weights and says what is
// wrong with one, `network/training.h` says how it is trained. The coordinator (spec checks, tuner)
// and the worker (planning, export) share these structs.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace trainyard::network {

// Size of one image or activation, without the batch. A flat vector of n is {n, 1, 1}.
struct Shape {
  int channels = 0;
  int height = 0;
  int width = 0;

  int64_t size() const { return int64_t{channels} * height * width; }
  bool flat() const { return height == 1 && width == 1; }
  bool operator==(const Shape&) const = default;
};

// A size or step in pixels, vertical first.
struct Extent {
  int height = 1;
  int width = 1;
  bool operator==(const Extent&) const = default;
};

// Pixels of zeros around the input. With `same`, the four numbers are ignored: the output has
// ceil(input / stride) pixels and an odd pixel goes to the bottom and right, as in Keras.
struct Padding {
  bool same = false;
  int top = 0;
  int bottom = 0;
  int left = 0;
  int right = 0;
  bool operator==(const Padding&) const = default;
};

// y = x * w (+ b); weight is (filters, channels / groups, kernel.height, kernel.width).
struct Conv {
  int filters = 0;
  Extent kernel{3, 3};
  Extent stride{1, 1};
  Padding padding{};
  int groups = 1;
  bool bias = true;
  bool operator==(const Conv&) const = default;
};

// y = gamma (x - mean) / sqrt(var + epsilon) + beta, per channel, with the batch's statistics while
// training; running = momentum * running + (1 - momentum) * batch (unbiased variance) serves after.
struct BatchNorm {
  double momentum = 0.9;
  double epsilon = 1e-5;
  bool operator==(const BatchNorm&) const = default;
};

// y = x > 0 ? x : negative_slope * x. A slope of 0 is plain ReLU.
struct Relu {
  double negative_slope = 0;
  bool operator==(const Relu&) const = default;
};

enum class PoolKind { kMax, kAverage };

// Average pooling leaves padded pixels out of the mean.
struct Pool {
  PoolKind kind = PoolKind::kMax;
  Extent kernel{2, 2};
  Extent stride{2, 2};
  Padding padding{};
  bool operator==(const Pool&) const = default;
};

struct GlobalAvgPool {
  bool operator==(const GlobalAvgPool&) const = default;
};

// While training, zeroes each value with probability `rate` and scales the rest by 1 / (1 - rate).
struct Dropout {
  double rate = 0.5;
  bool operator==(const Dropout&) const = default;
};

// (c, h, w) -> (c * h * w), channel-major.
struct Flatten {
  bool operator==(const Flatten&) const = default;
};

// y = W x (+ b); weight is (units, inputs).
struct Dense {
  int units = 0;
  bool bias = true;
  bool operator==(const Dense&) const = default;
};

struct Layer;

// y = body(x) + shortcut(x). An empty shortcut is the identity; both sides must agree in shape.
struct Residual {
  std::vector<Layer> body;
  std::vector<Layer> shortcut;
  bool operator==(const Residual&) const;
};

struct Layer {
  std::variant<Conv, BatchNorm, Relu, Pool, GlobalAvgPool, Dropout, Flatten, Dense, Residual> op;
  bool operator==(const Layer&) const = default;
};

inline bool Residual::operator==(const Residual& other) const {
  return body == other.body && shortcut == other.shortcut;
}

// The last layer's output, flat with one value per class, is the logits; the loss is softmax
// cross-entropy.
struct Network {
  Shape input{};
  int classes = 0;
  std::vector<Layer> layers{};
  bool operator==(const Network&) const = default;
};

// A layer's name in specs and in paths: "conv", "batch_norm", "relu", "leaky_relu", "max_pool",
// "avg_pool", "global_avg_pool", "dropout", "flatten", "dense", "residual".
std::string KindName(const Layer& layer);

// One line a person reads: "conv 3x3 x32 -> batch_norm -> relu -> max_pool 2x2 -> dense 10". Of a
// long network the middle is left out.
std::string Describe(const Network& network);

}  // namespace trainyard::network
