// Each way in which a network can be wrong is found, with its path and what was expected.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "network/shapes.h"
#include "tests/network/sample.h"

namespace trainyard::network {

void PrintTo(const Problem& problem, std::ostream* out) {
  *out << problem.path << ": " << problem.message;
}

namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;

auto At(const std::string& path, const std::string& message) {
  return AllOf(Field("path", &Problem::path, path),
               Field("message", &Problem::message, HasSubstr(message)));
}

Network With(std::vector<Layer> layers, Shape input = {3, 8, 8}) {
  return {input, 10, std::move(layers)};
}

TEST(CheckNetwork, AcceptsTheSample) { EXPECT_THAT(CheckNetwork(Sample()), IsEmpty()); }

TEST(CheckNetwork, UnknownInputAndClasses) {
  Network network = Sample();
  network.input = {};
  network.classes = 0;
  EXPECT_THAT(
      CheckNetwork(network),
      ElementsAre(At("network.input.channels", "found 0"), At("network.input.height", "found 0"),
                  At("network.input.width", "found 0"),
                  At("network.classes", "found 0, expected a whole number from 2")));
  EXPECT_THAT(CheckLayers(network), IsEmpty());
}

TEST(CheckNetwork, NoLayers) {
  EXPECT_THAT(CheckNetwork(With({})), ElementsAre(At("network.layers", "no layers")));
}

TEST(CheckNetwork, KernelLargerThanItsInput) {
  EXPECT_THAT(CheckNetwork(With({Layer{Conv{.filters = 4, .kernel = {9, 9}}}})),
              ElementsAre(At("network.layers[0].conv.kernel",
                             "found 9, expected at most 8 (the input is 8x8)")));
  EXPECT_THAT(
      CheckNetwork(With({Layer{Relu{}}, Layer{Pool{.kernel = {1, 12}, .padding = {.left = 2}}}})),
      ElementsAre(At("network.layers[1].max_pool.kernel",
                     "found 12, expected at most 10 (the input is 8x8, plus 2 of padding)")));
}

TEST(CheckNetwork, FieldsOutOfRange) {
  auto layers = std::vector<Layer>{Layer{Conv{.filters = 1'000'000'000}},
                                   Layer{Conv{.filters = 8, .stride = {0, 0}}},
                                   Layer{Dropout{.rate = 1}},
                                   Layer{Dropout{.rate = std::nan("")}},
                                   Layer{BatchNorm{.epsilon = 0}},
                                   Layer{Pool{.padding = {.top = 2}}},
                                   Layer{Dense{.units = -3}}};
  EXPECT_THAT(CheckNetwork(With(layers)),
              ElementsAre(At("network.layers[0].conv.filters", "found 1000000000"),
                          At("network.layers[1].conv.stride", "found 0"),
                          At("network.layers[2].dropout.rate", "found 1, expected"),
                          At("network.layers[3].dropout.rate", "found NaN"),
                          At("network.layers[4].batch_norm.epsilon", "found 0"),
                          At("network.layers[5].max_pool.padding", "found 2, expected 0 to 1"),
                          At("network.layers[6].dense.units", "found -3")));
}

TEST(CheckNetwork, GroupsThatDivideNeitherFiltersNorChannels) {
  EXPECT_THAT(CheckNetwork(With({Layer{Conv{.filters = 8, .groups = 3}}})),
              ElementsAre(At("network.layers[0].conv.groups", "divisor of the 8 filters")));
  EXPECT_THAT(CheckNetwork(With({Layer{Conv{.filters = 8, .groups = 2}}})),
              ElementsAre(At("network.layers[0].conv.groups", "divisor of the 3 input channels")));
}

TEST(CheckNetwork, DenseOnAnImage) {
  EXPECT_THAT(CheckNetwork(With({Layer{Dense{.units = 10}}})),
              ElementsAre(At("network.layers[0].dense", "found an input of 3x8x8")));
}

TEST(CheckNetwork, LogitsThatAreNotTheClasses) {
  EXPECT_THAT(CheckNetwork(With({Layer{Flatten{}}, Layer{Dense{.units = 9}}})),
              ElementsAre(At("network.layers[1].dense.units", "found 9 values")));
  EXPECT_THAT(CheckNetwork(With({Layer{Conv{.filters = 10}}})),
              ElementsAre(At("network.layers[0].conv", "found 10x6x6 values")));
}

TEST(CheckNetwork, SidesOfAResidualThatDisagree) {
  Residual residual = Downsampling(6);
  residual.shortcut.clear();
  EXPECT_THAT(
      CheckNetwork(With({Layer{residual}})),
      ElementsAre(At("network.layers[0].residual", "found an input of 3x8x8, expected 6x4x4")));
  residual = Downsampling(6);
  std::get<Conv>(residual.shortcut[0].op).stride = {1, 1};
  EXPECT_THAT(CheckNetwork(With({Layer{residual}})),
              ElementsAre(At("network.layers[0].residual.shortcut", "gives 6x8x8")));
}

TEST(CheckNetwork, ProblemInsideANestedResidual) {
  Residual inner = Downsampling(3);
  std::get<Conv>(inner.body[0].op).kernel = {0, 3};
  Residual outer{.body = {Layer{Relu{}}, Layer{inner}}, .shortcut = {}};
  EXPECT_THAT(
      CheckNetwork(With({Layer{outer}})),
      testing::Contains(
          At("network.layers[0].residual.layers[1].residual.layers[0].conv.kernel", "found 0")));
}

TEST(CheckNetwork, ResidualsNestedWithoutEnd) {
  Layer layer{Relu{}};
  for (int i = 0; i < 200; ++i) layer = Layer{Residual{.body = {layer}, .shortcut = {}}};
  auto problems = CheckNetwork(With({layer}));
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_THAT(problems[0].message, HasSubstr("nested deeper than 16"));
}

TEST(CheckNetwork, TooManyLayersCountingNestedOnes) {
  std::vector<Layer> half(5'001, Layer{Relu{}});
  Network network = With(half);
  network.layers.push_back(Layer{Residual{.body = half, .shortcut = {}}});
  auto problems = CheckNetwork(network);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_THAT(problems[0].message, HasSubstr("more than 10000 layers"));
}

TEST(CheckNetwork, ActivationsAndWeightsBeyondTheLimit) {
  EXPECT_THAT(
      CheckNetwork(With({Layer{Conv{.filters = 65'536, .padding = Same()}}}, {3, 4'096, 4'096})),
      ElementsAre(At("network.layers[0].conv", "values in the output of one image")));
  EXPECT_THAT(
      CheckNetwork(With({Layer{Flatten{}}, Layer{Dense{.units = 1 << 20}}}, {3, 4'096, 4'096})),
      ElementsAre(At("network.layers[1].dense.units", "weights, expected at most")));
  EXPECT_THAT(CheckNetwork(With({Layer{Relu{}}}, {65'536, 16'384, 16'384})),
              ElementsAre(At("network.input", "values in one image")));
}

}  // namespace
}  // namespace trainyard::network
