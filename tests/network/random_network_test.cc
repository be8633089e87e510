// Random networks, sound and hostile: what CheckNetwork accepts can be walked without surprise, and
// shapes agree with windows counted one by one.
#include <gtest/gtest.h>

#include <random>

#include "network/shapes.h"
#include "tests/network/sample.h"

namespace trainyard::network {
namespace {

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  int Pick(int low, int high) { return std::uniform_int_distribution<>(low, high)(random_); }
  bool Chance(double p) { return std::bernoulli_distribution(p)(random_); }

  // Mostly small, sometimes absurd.
  int Size() {
    if (!Chance(hostile_)) return Pick(1, 5);
    constexpr int kOdd[] = {0, -1, 1'000'000'000, INT32_MAX, INT32_MIN, 65'536, 1 << 20};
    return kOdd[Pick(0, 6)];
  }
  Extent Sides() { return {Size(), Size()}; }
  Padding Zeros() {
    if (Chance(0.5)) return Same();
    return {false, Pick(0, 1), Pick(0, 1), Chance(hostile_) ? Size() : 0, 0};
  }

  Layer AnyLayer(int depth) {
    switch (Pick(0, depth > 3 ? 7 : 8)) {
      case 0:
        return {Conv{Size(), Sides(), Sides(), Zeros(), Chance(0.2) ? Size() : 1, Chance(0.5)}};
      case 1:
        return {BatchNorm{}};
      case 2:
        return {Relu{Chance(0.5) ? 0.1 : 0}};
      case 3:
        return {Pool{Chance(0.5) ? PoolKind::kMax : PoolKind::kAverage, Sides(), Sides(), Zeros()}};
      case 4:
        return {Chance(0.2) ? Layer{GlobalAvgPool{}} : Layer{Relu{}}};
      case 5:
        return {Dropout{}};
      case 6:
        return {Chance(0.2) ? Layer{Flatten{}} : Layer{BatchNorm{}}};
      case 7:
        return {Dense{Size()}};
      default:
        return {Residual{AnyLayers(depth + 1),
                         Chance(0.3) ? AnyLayers(depth + 1) : std::vector<Layer>{}}};
    }
  }
  std::vector<Layer> AnyLayers(int depth) {
    std::vector<Layer> layers(Pick(depth > 0 ? 1 : 0, 6));
    for (Layer& layer : layers) layer = AnyLayer(depth);
    return layers;
  }
  Network AnyNetwork(double hostile) {
    hostile_ = hostile;
    Network network{{Size(), 6 + Pick(1, 5), 6 + Pick(1, 5)}, 10, {}};
    if (Chance(hostile)) network.input.height = Size();
    network.layers = AnyLayers(0);
    network.layers.push_back({Flatten{}});
    network.layers.push_back({Dense{10}});
    return network;
  }

 private:
  std::mt19937_64 random_;
  double hostile_ = 0;
};

// Windows of `kernel` at steps of `stride` that fit, counted one by one.
int CountWindows(int input, int before, int after, int kernel, int stride) {
  int count = 0;
  for (int start = -before; start + kernel <= input + after; start += stride) ++count;
  return count;
}

void ExpectWindows(const Shape& input, const Shape& output, const Extent& kernel,
                   const Extent& stride, const Padding& padding) {
  Padding p = ResolvePadding(padding, input, kernel, stride);
  ASSERT_EQ(output.height,
            CountWindows(input.height, p.top, p.bottom, kernel.height, stride.height));
  ASSERT_EQ(output.width, CountWindows(input.width, p.left, p.right, kernel.width, stride.width));
  if (padding.same) {
    ASSERT_EQ(output.height, (input.height + stride.height - 1) / stride.height);
    ASSERT_EQ(output.width, (input.width + stride.width - 1) / stride.width);
  }
  for (int side : {p.top, p.bottom}) {
    ASSERT_GE(side, 0);
    ASSERT_LT(side, kernel.height);
  }
}

// Walks shapes and counts trainable values on its own.
int64_t WalkAndCount(const std::vector<Layer>& layers, Shape shape) {
  int64_t values = 0;
  for (const Layer& layer : layers) {
    Shape output = OutputShape(layer, shape);
    EXPECT_GT(output.channels, 0);
    EXPECT_GT(output.height, 0);
    EXPECT_GT(output.width, 0);
    if (auto* conv = std::get_if<Conv>(&layer.op)) {
      ExpectWindows(shape, output, conv->kernel, conv->stride, conv->padding);
      values += int64_t{conv->filters} * (shape.channels / conv->groups) * conv->kernel.height *
                    conv->kernel.width +
                (conv->bias ? conv->filters : 0);
    } else if (auto* pool = std::get_if<Pool>(&layer.op)) {
      ExpectWindows(shape, output, pool->kernel, pool->stride, pool->padding);
    } else if (auto* dense = std::get_if<Dense>(&layer.op)) {
      values += dense->units * (shape.size() + 1);
    } else if (std::get_if<BatchNorm>(&layer.op)) {
      values += 2 * shape.channels;
    } else if (auto* residual = std::get_if<Residual>(&layer.op)) {
      values += WalkAndCount(residual->body, shape) + WalkAndCount(residual->shortcut, shape);
    }
    shape = output;
  }
  return values;
}

int CountAccepted(double hostile, int seeds) {
  int accepted = 0;
  for (int seed = 0; seed < seeds; ++seed) {
    SCOPED_TRACE(seed);
    Network network = Generator(seed).AnyNetwork(hostile);
    if (!CheckNetwork(network).empty()) continue;
    ++accepted;
    EXPECT_EQ(ParameterCount(network), WalkAndCount(network.layers, network.input));
    EXPECT_GT(ForwardFlops(network), 0);
    EXPECT_GT(TrainingBytes(network, Training{}), 4 * ParameterCount(network));
    EXPECT_GT(TrainingBytes(network, Training{.batch_size = INT32_MAX}), 0)
        << "saturates instead of overflowing";
    if (testing::Test::HasFailure()) return accepted;
  }
  return accepted;
}

TEST(RandomNetworks, SoundOnesAgreeWithAnIndependentCount) {
  EXPECT_GT(CountAccepted(0, 4'000), 200) << "the generator hardly makes valid networks";
}

TEST(RandomNetworks, HostileSizesAreRefusedOrHarmless) {
  EXPECT_GT(CountAccepted(0.02, 4'000), 100) << "the generator hardly makes valid networks";
  EXPECT_LT(CountAccepted(0.7, 4'000), 4'000);
}

}  // namespace
}  // namespace trainyard::network
