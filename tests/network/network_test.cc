// Shapes, weights, costs and descriptions of networks worked out by hand.
#include "network/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "network/shapes.h"
#include "tests/network/sample.h"

namespace trainyard::network {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Describe, IsOneReadableLine) {
  EXPECT_EQ(Describe(Sample()),
            "conv 3x3 x32 -> batch_norm -> relu -> max_pool 2x2 -> residual(conv 3x3 x64 stride 2 "
            "-> batch_norm -> relu | conv 1x1 x64 stride 2) -> leaky_relu 0.1 -> global_avg_pool "
            "-> dropout 0.25 -> dense 10");
}

TEST(Describe, LeavesOutTheMiddleOfALongNetwork) {
  Network network;
  network.layers.assign(5'000, Layer{Relu{}});
  std::string text = Describe(network);
  EXPECT_THAT(text, HasSubstr("(4970 more)"));
  EXPECT_LT(text.size(), 1'000u);
}

TEST(OutputShape, FollowsTheSampleByHand) {
  Shape shape{1, 28, 28};
  std::vector<Shape> shapes;
  for (const Layer& layer : Sample().layers) shapes.push_back(shape = OutputShape(layer, shape));
  EXPECT_THAT(shapes, ElementsAre(Shape{32, 28, 28}, Shape{32, 28, 28}, Shape{32, 28, 28},
                                  Shape{32, 14, 14}, Shape{64, 7, 7}, Shape{64, 7, 7},
                                  Shape{64, 1, 1}, Shape{64, 1, 1}, Shape{10, 1, 1}));
  EXPECT_EQ(OutputShape(Layer{Flatten{}}, {64, 7, 7}), (Shape{3136, 1, 1}));
}

TEST(ResolvePadding, PutsAnOddPixelOfSameAtTheBottomAndRight) {
  Padding p = ResolvePadding(Same(), {1, 28, 28}, {3, 4}, {2, 1});
  EXPECT_EQ(p, (Padding{.top = 0, .bottom = 1, .left = 1, .right = 2}));
  // A stride beyond the kernel needs none.
  EXPECT_EQ(ResolvePadding(Same(), {1, 28, 28}, {1, 1}, {3, 3}), Padding{});
}

TEST(Parameters, AreNamedAndShapedInLayerOrder) {
  std::vector<std::string> lines;
  for (const Parameter& p : Parameters(Sample())) {
    std::string line = p.name;
    for (int64_t dim : p.dims) line += " " + std::to_string(dim);
    lines.push_back(line + (p.trainable() ? p.decays() ? " decays" : "" : " statistic"));
  }
  EXPECT_THAT(
      lines, ElementsAre("layers.0.weight 32 1 3 3 decays", "layers.0.bias 32", "layers.1.gamma 32",
                         "layers.1.beta 32", "layers.1.running_mean 32 statistic",
                         "layers.1.running_var 32 statistic",
                         "layers.4.body.0.weight 64 32 3 3 decays", "layers.4.body.1.gamma 64",
                         "layers.4.body.1.beta 64", "layers.4.body.1.running_mean 64 statistic",
                         "layers.4.body.1.running_var 64 statistic",
                         "layers.4.shortcut.0.weight 64 32 1 1 decays",
                         "layers.8.weight 10 64 decays", "layers.8.bias 10"));
  EXPECT_EQ(ParameterCount(Sample()),
            32 * 9 + 32 + 2 * 32 + 64 * 32 * 9 + 2 * 64 + 64 * 32 + 10 * 64 + 10);
}

TEST(Parameters, FansOfAGroupedConvolution) {
  Network network{{8, 5, 5}, 4, {Layer{Conv{.filters = 12, .kernel = {3, 2}, .groups = 4}}}};
  Parameter weight = Parameters(network).at(0);
  EXPECT_THAT(weight.dims, ElementsAre(12, 2, 3, 2));
  EXPECT_EQ(weight.fan_in, 2 * 3 * 2);
  EXPECT_EQ(weight.fan_out, 12 * 3 * 2);
}

TEST(ForwardFlops, CountsMultiplyAndAddAsTwo) {
  Network network{{3, 8, 8},
                  10,
                  {Layer{Conv{.filters = 16, .padding = Same(), .bias = false}}, Layer{Flatten{}},
                   Layer{Dense{.units = 10, .bias = false}}}};
  EXPECT_DOUBLE_EQ(ForwardFlops(network), 2.0 * 16 * 64 * 27 + 2.0 * 16 * 64 * 10);
}

TEST(TrainingBytes, GrowsByTheActivationsOfEachImage) {
  Network network{{1, 4, 4}, 2, {Layer{Relu{}}, Layer{Flatten{}}, Layer{Dense{.units = 2}}}};
  int64_t per_image = 4 * (16 + 16 + 16 + 2 + 2 * 16);
  const auto bytes = [&](int batch_size, Precision precision) {
    return TrainingBytes(network, Training{.batch_size = batch_size, .precision = precision});
  };
  for (const Precision precision : {Precision::kFp32, Precision::kTf32}) {
    EXPECT_EQ(bytes(3, precision) - bytes(2, precision), per_image);
    EXPECT_EQ(bytes(0, precision), 4 * 4 * (2 * 16 + 2));
  }
  EXPECT_EQ(bytes(3, Precision::kBf16) - bytes(2, Precision::kBf16), per_image / 2);
  EXPECT_EQ(bytes(0, Precision::kBf16), (4 * 4 + 2) * (2 * 16 + 2)) << "and a copy to compute with";
}

TEST(KindName, TellsReluFromLeakyAndMaxFromAverage) {
  EXPECT_EQ(KindName(Layer{Relu{}}), "relu");
  EXPECT_EQ(KindName(Layer{Relu{.negative_slope = 0.2}}), "leaky_relu");
  EXPECT_EQ(KindName(Layer{Pool{}}), "max_pool");
  EXPECT_EQ(KindName(Layer{Pool{.kind = PoolKind::kAverage}}), "avg_pool");
}

}  // namespace
}  // namespace trainyard::network
