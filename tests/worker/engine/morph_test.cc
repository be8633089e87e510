// A grown network takes over what its parent learned: the same logits where that can be, by each
// kind of growth; what does not belong to the parent is refused.
#include "worker/engine/morph/morph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/worker/engine/support/examples.h"
#include "tests/worker/engine/support/inheritance.h"

namespace trainyard::engine {
namespace {

using network::BatchNorm;
using network::Configuration;
using network::Conv;
using network::Dense;
using network::Dropout;
using network::Flatten;
using network::GlobalAvgPool;
using network::Layer;
using network::Network;
using network::OptimizerKind;
using network::Pool;
using network::Relu;
using network::Residual;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;

using Layers = std::vector<Layer>;

Network Net(Layers layers) { return {{2, 9, 9}, 3, std::move(layers)}; }

Configuration Training(const Network& network, OptimizerKind optimizer = OptimizerKind::kSgd) {
  Configuration configuration;
  configuration.network = network;
  configuration.training.seed = 77;
  configuration.training.optimizer.kind = optimizer;
  return configuration;
}

std::string Text(const Inheritance& inheritance) {
  std::string text;
  for (const std::string& line : inheritance.lines) text += line + "\n";
  return text;
}

Inheritance ExpectSameLogits(const Network& parent, const Network& child) {
  const Checkpoint checkpoint = TrainedBySeed(parent, 3);
  Inheritance inheritance = Inherit(parent, checkpoint, Training(child));
  EXPECT_TRUE(inheritance.preserving) << Text(inheritance);
  EXPECT_LE(
      RelativeDistance(LogitsOf(child, inheritance.state), LogitsOf(parent, checkpoint.state)),
      1e-5)
      << Text(inheritance);
  return inheritance;
}

Inheritance ExpectOtherLogits(const Network& parent, const Network& child) {
  const Checkpoint checkpoint = TrainedBySeed(parent, 3);
  Inheritance inheritance = Inherit(parent, checkpoint, Training(child));
  EXPECT_FALSE(inheritance.preserving) << Text(inheritance);
  EXPECT_GT(
      RelativeDistance(LogitsOf(child, inheritance.state), LogitsOf(parent, checkpoint.state)),
      1e-5)
      << Text(inheritance);
  EXPECT_THAT(inheritance.lines, Contains(HasSubstr("the logits change")));
  return inheritance;
}

Layer Grouped(int filters, int groups) {
  Layer layer = Convolution(filters, 3);
  std::get<Conv>(layer.op).groups = groups;
  return layer;
}

// conv - relu - pool - conv - batch norm - relu, and a head.
Network Small(int filters, int kernel = 3) {
  return Net({Convolution(filters, kernel),
              {Relu{}},
              {Pool{}},
              Convolution(2 * filters, kernel, 2),
              {BatchNorm{}},
              {Relu{}},
              {Flatten{}},
              {Dense{3}}});
}

// With `layers` in front of the one at `at`.
Network With(Network network, size_t at, const Layers& layers) {
  network.layers.insert(network.layers.begin() + static_cast<int64_t>(at), layers.begin(),
                        layers.end());
  return network;
}

// ---- Wider --------------------------------------------------------------------------------------

TEST(Morph, TheSameNetworkTakesOverEveryValue) {
  const Network network = EverythingNetwork({1, 12, 12}, 5);
  const Checkpoint checkpoint = TrainedBySeed(network, 3);
  const Inheritance inheritance = Inherit(network, checkpoint, Training(network));
  EXPECT_TRUE(inheritance.preserving);
  EXPECT_EQ(inheritance.state.parameters, checkpoint.state.parameters);
  EXPECT_EQ(inheritance.state.statistics, checkpoint.state.statistics);
  EXPECT_EQ(inheritance.state.moment1, checkpoint.state.moment1);
}

TEST(Morph, WiderConvsThroughBatchNormPoolAndFlattenKeepTheLogits) {
  for (const int filters : {5, 8, 16}) ExpectSameLogits(Small(4), Small(filters));
}

TEST(Morph, WiderHiddenDenseLayerKeepsTheLogits) {
  const auto net = [](int units) {
    return Net({{Flatten{}}, {Dense{units}}, {Relu{0.1}}, {Dropout{}}, {Dense{3}}});
  };
  ExpectSameLogits(net(6), net(20));
}

TEST(Morph, WiderResidualsKeepTheLogits) {
  const auto net = [](int filters) {
    const Residual identity{
        {Convolution(filters, 3), {BatchNorm{}}, {Relu{}}, Convolution(filters, 3), {BatchNorm{}}},
        {}};
    const Residual projected{{Convolution(2 * filters, 3, 2), {BatchNorm{}}},
                             {Convolution(2 * filters, 1, 2, false)}};
    return Net({Convolution(filters, 3),
                {Relu{}},
                {identity},
                {Relu{}},
                {projected},
                {Relu{}},
                {GlobalAvgPool{}},
                {Dense{3}}});
  };
  ExpectSameLogits(net(4), net(6));
}

TEST(Morph, WiderDepthwiseAndGroupedConvsKeepTheLogits) {
  const auto net = [](int filters, int groups) {
    return Net({Convolution(filters, 3),
                {Relu{}},
                Grouped(filters, filters),  // depthwise
                {BatchNorm{}},
                {Relu{}},
                Grouped(filters, groups),
                {Relu{}},
                Convolution(filters, 1),
                {GlobalAvgPool{}},
                {Dense{3}}});
  };
  ExpectSameLogits(net(4, 2), net(12, 2));
  ExpectSameLogits(net(4, 4), net(8, 8));  // all depthwise
  ExpectSameLogits(net(4, 2), net(8, 1));  // no longer grouped
}

// ---- Deeper -------------------------------------------------------------------------------------

TEST(Morph, BatchNormsPutInKeepTheLogits) {
  const Network child = With(With(Small(4), 4, {{BatchNorm{}}}), 1, {{BatchNorm{}}});
  EXPECT_THAT(ExpectSameLogits(Small(4), child).lines,
              Contains("layers.1: begins as the identity"));
}

TEST(Morph, ConvPutInBehindAReluKeepsTheLogits) {
  const Layers block = {Convolution(4, 3, 1, false), {BatchNorm{}}, {Relu{}}};
  ExpectSameLogits(Small(4), With(Small(4), 2, block));
  ExpectSameLogits(Small(4), With(Small(4), 3, block));  // behind the pool
  ExpectSameLogits(Small(4), With(Small(4), 3, {Convolution(7, 5)}));
}

TEST(Morph, ConvWithAReluPutInBeforeTheFirstLayerChangesTheLogits) {
  ExpectOtherLogits(Small(4), With(Small(4), 0, {Convolution(2, 3), {Relu{}}}));
}

TEST(Morph, ConvTooNarrowForTheIdentityChangesTheLogits) {
  ExpectOtherLogits(Small(4), With(Small(4), 3, {Convolution(3, 3)}));
}

TEST(Morph, ResidualPutInKeepsTheLogitsAndCanLearn) {
  const Residual normed{
      {Convolution(4, 3), {BatchNorm{}}, {Relu{}}, Convolution(4, 3), {BatchNorm{}}}, {}};
  ExpectSameLogits(Small(4), With(Small(4), 3, {{normed}, {Relu{}}}));
  const Residual plain{{Convolution(6, 3), {Relu{}}, Convolution(6, 3)},
                       {Convolution(6, 1), {BatchNorm{}}}};
  const Inheritance inheritance =
      ExpectSameLogits(Small(4), With(Small(4), 3, {{plain}, {Relu{}}}));
  EXPECT_THAT(inheritance.lines, Contains("layers.3: adds nothing at first"));
  const Residual silent{{Convolution(4, 3), {Relu{}}}, {}};  // zeros would stay zeros
  ExpectOtherLogits(Small(4), With(Small(4), 3, {{silent}}));
}

TEST(Morph, HiddenDenseLayerPutInKeepsTheLogits) {
  const auto net = [](bool flat, const Layers& hidden) {
    Network network = Net({Convolution(4, 3), {Relu{}}});
    network.layers.push_back(flat ? Layer{Flatten{}} : Layer{GlobalAvgPool{}});
    network.layers.insert(network.layers.end(), hidden.begin(), hidden.end());
    network.layers.push_back({Dense{3}});
    return network;
  };
  ExpectSameLogits(net(false, {}), net(false, {{Dense{8}}, {Relu{}}}));
  // Fewer units than inputs: both signs of each class pass through the relu.
  ExpectSameLogits(net(true, {}), net(true, {{Dense{8}}, {Relu{}}, {Dropout{}}}));
  ExpectSameLogits(net(true, {}), net(true, {{Dense{6, false}}, {BatchNorm{}}, {Relu{0.2}}}));
  ExpectOtherLogits(net(true, {}), net(true, {{Dense{5}}, {Relu{}}}));
}

// ---- Other kernels and the rest -----------------------------------------------------------------

TEST(Morph, LargerKernelsKeepTheLogitsWherePaddingFollows) {
  ExpectSameLogits(Small(4, 3), Small(4, 5));
  ExpectSameLogits(Small(4, 3), Small(8, 7));
  const auto explicitly = [](int kernel, int padding) {
    Network network = Small(4);
    auto& conv = std::get<Conv>(network.layers[0].op);
    conv.kernel = {kernel, kernel};
    conv.padding = {false, padding, padding, padding, padding};
    return network;
  };
  ExpectSameLogits(explicitly(3, 0), explicitly(5, 1));
  ExpectOtherLogits(explicitly(3, 1), explicitly(5, 1));
  ExpectOtherLogits(Small(4, 5), Small(4, 3));
}

TEST(Morph, DropoutKeepsTheLogitsAndOtherSlopesOnlyBehindARelu) {
  ExpectSameLogits(Small(4), With(Small(4), 7, {{Dropout{}}}));
  ExpectSameLogits(With(Small(4), 7, {{Dropout{}}}), Small(4));
  Network sloped = Small(4);
  std::get<Relu>(sloped.layers[1].op).negative_slope = 0.1;
  ExpectOtherLogits(Small(4), sloped);
  ExpectSameLogits(Small(4), With(Small(4), 2, {{Relu{0.1}}}));
}

TEST(Morph, OtherEpsilonOfABatchNormKeepsTheLogits) {
  Network child = Small(4);
  std::get<BatchNorm>(child.layers[4].op).epsilon = 1e-3;
  ExpectSameLogits(Small(4), child);
}

TEST(Morph, WhatIsLeftIsTakenOverWhereTheLogitsChange) {
  EXPECT_THAT(ExpectOtherLogits(Small(8), Small(4)).lines,
              Contains("layers.0: 4 of 4 filters taken over"));
  Network shorter = Small(4);
  shorter.layers.erase(shorter.layers.begin() + 3, shorter.layers.begin() + 6);
  EXPECT_THAT(ExpectOtherLogits(Small(4), shorter).lines,
              Contains("the parent's layers.3: left out; the logits change"));
  Network unbiased = Small(4);
  std::get<Conv>(unbiased.layers[0].op).bias = false;
  ExpectOtherLogits(Small(4), unbiased);
}

// ---- What else is carried -----------------------------------------------------------------------

TEST(Morph, NewFiltersAreUnlikeEachOtherAndUnlikeTheOldOnes) {
  const Inheritance inheritance = ExpectSameLogits(Small(4), Small(12));
  const size_t filter = 2 * 3 * 3;
  const auto at = [&](size_t f) {
    const auto begin = inheritance.state.parameters.begin() + static_cast<int64_t>(f * filter);
    return std::vector<float>(begin, begin + static_cast<int64_t>(filter));
  };
  for (size_t a = 0; a < 12; ++a) {
    for (size_t b = a + 1; b < 12; ++b) EXPECT_NE(at(a), at(b)) << a << " and " << b;
  }
}

TEST(Morph, MomentumIsCarriedToTheSameWeightsAndNewOnesHaveNone) {
  const Network parent = PlainNetwork({1, 6, 6}, 3);
  Network child = parent;
  std::get<Conv>(child.layers[0].op).filters = 6;
  const Checkpoint checkpoint = TrainedBySeed(parent, 3);
  const Inheritance inheritance = Inherit(parent, checkpoint, Training(child));
  for (size_t i = 0; i < 6 * 9; ++i) {
    EXPECT_EQ(inheritance.state.moment1[i], i < 4 * 9 ? checkpoint.state.moment1[i] : 0) << i;
  }
  ASSERT_EQ(inheritance.state.moment1.size(), inheritance.state.parameters.size());
}

TEST(Morph, MomentsOfAdamStartAnewSinceTheirStepsDo) {
  const Network network = Small(4);
  for (const bool adam : {true, false}) {
    const Checkpoint checkpoint = TrainedBySeed(network, 3, adam);
    const auto to = adam ? OptimizerKind::kSgd : OptimizerKind::kAdamW;
    EXPECT_THAT(Inherit(network, checkpoint, Training(network, to)).state.moment1, Each(0.0f));
  }
  const Inheritance inheritance =
      Inherit(network, TrainedBySeed(network, 3, true), Training(network, OptimizerKind::kAdamW));
  EXPECT_THAT(inheritance.state.moment1, Each(0.0f));
  EXPECT_THAT(inheritance.state.moment2, Each(0.0f));
}

TEST(Morph, SameInputsGiveTheSameBytesAndOtherSeedsOtherNewWeights) {
  const Checkpoint checkpoint = TrainedBySeed(Small(4), 3);
  Configuration child = Training(Small(8));
  const Inheritance first = Inherit(Small(4), checkpoint, child);
  const Inheritance second = Inherit(Small(4), checkpoint, child);
  EXPECT_EQ(first.state.parameters, second.state.parameters);
  EXPECT_EQ(first.state.statistics, second.state.statistics);
  EXPECT_EQ(first.state.moment1, second.state.moment1);
  EXPECT_EQ(first.lines, second.lines);
  ++child.training.seed;
  EXPECT_NE(Inherit(Small(4), checkpoint, child).state.parameters, first.state.parameters);
}

// ---- Bad input ----------------------------------------------------------------------------------

class ForeignCheckpoint : public ::testing::Test {
 protected:
  ::testing::AssertionResult Refuses(const std::vector<std::string>& words) const {
    return ThrowsNaming([&] { Inherit(Small(4), checkpoint_, Training(Small(8))); }, words);
  }
  Checkpoint checkpoint_ = TrainedBySeed(Small(4), 3);
};

TEST_F(ForeignCheckpoint, OfAnotherShapeIsRefusedByItsTensor) {
  checkpoint_ = TrainedBySeed(Small(5), 3);
  EXPECT_TRUE(Refuses({"layers.0.weight", "(5, 2, 3, 3)", "(4, 2, 3, 3)"}));
}

TEST_F(ForeignCheckpoint, OfOtherLayersIsRefusedByItsTensor) {
  checkpoint_ = TrainedBySeed(With(Small(4), 1, {{BatchNorm{}}}), 3);
  EXPECT_TRUE(Refuses({"tensor 2", "layers.1.gamma", "layers.3.weight"}));
}

TEST_F(ForeignCheckpoint, WithoutATensorOrWithOneMoreIsRefused) {
  const network::Parameter last = checkpoint_.parameters.back();
  checkpoint_.parameters.pop_back();
  EXPECT_TRUE(Refuses({"layers.7.bias", "found none", "(3)"}));
  checkpoint_.parameters.push_back(last);
  checkpoint_.parameters.push_back({"layers.9.bias", last.role, {3}});
  EXPECT_TRUE(Refuses({"layers.9.bias", "none of this name"}));
}

TEST_F(ForeignCheckpoint, WithValuesMissingIsRefused) {
  checkpoint_.state.statistics.pop_back();
  EXPECT_TRUE(Refuses({"statistics", "15 values", "16"}));
  checkpoint_ = TrainedBySeed(Small(4), 3);
  checkpoint_.state.parameters.clear();
  EXPECT_TRUE(Refuses({"parameters", "0 values"}));
  checkpoint_ = TrainedBySeed(Small(4), 3);
  checkpoint_.state.moment1.pop_back();
  EXPECT_TRUE(Refuses({"moments"}));
}

TEST(Morph, NetworksForOtherImagesOrClassesAreRefused) {
  const Checkpoint checkpoint = TrainedBySeed(Small(4), 3);
  Network other = Small(8);
  other.input.channels = 1;
  EXPECT_TRUE(ThrowsNaming([&] { Inherit(Small(4), checkpoint, Training(other)); },
                           {"(2, 9, 9) images in 3 classes", "(1, 9, 9)"}));
  other = Small(8);
  other.classes = 4;
  std::get<Dense>(other.layers.back().op).units = 4;
  EXPECT_TRUE(ThrowsNaming([&] { Inherit(Small(4), checkpoint, Training(other)); },
                           {"in 3 classes", "in 4 classes"}));
  std::get<Dense>(other.layers.back().op).units = 5;
  EXPECT_TRUE(ThrowsNaming([&] { Inherit(Small(4), checkpoint, Training(other)); },
                           {"network.layers[7].dense.units", "found 5"}));
}

TEST(Morph, NetworksWithNothingInCommonAreRefused) {
  const Network dense = Net({{Flatten{}}, {Dense{3}}});
  const Network conv = Net({Convolution(3, 3), {GlobalAvgPool{}}});
  EXPECT_TRUE(ThrowsNaming([&] { Inherit(dense, TrainedBySeed(dense, 3), Training(conv)); },
                           {"no layer whose weights"}));
}

}  // namespace
}  // namespace trainyard::engine
