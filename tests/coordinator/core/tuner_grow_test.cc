// Changes to an architecture give valid networks, and say where they do not apply.
#include <gtest/gtest.h>

#include "coordinator/core/tuner/changes.h"
#include "coordinator/core/tuner/grow.h"
#include "network/shapes.h"
#include "tests/coordinator/core/text.h"

namespace trainyard::core {
namespace {

using namespace network;  // NOLINT: a list of layers reads best without

Network Sample() { return SampleRequest().configuration.network; }

Network WithResidual() {
  Conv conv{.filters = 8, .kernel = {3, 3}};
  conv.padding.same = true;
  Network network{.input = {3, 8, 8}, .classes = 10};
  network.layers = {{conv},
                    {Relu{}},
                    {Residual{.body = {{conv}, {Relu{}}, {conv}}}},
                    {GlobalAvgPool{}},
                    {Dense{.units = 10}}};
  return network;
}

TEST(Grow, ResidualsStillAgreeAfterWidening) {
  ASSERT_TRUE(CheckNetwork(WithResidual()).empty());
  const auto wider = Widen(WithResidual(), 1.5, 512);
  ASSERT_TRUE(wider);
  EXPECT_TRUE(CheckNetwork(*wider).empty());
  const auto deeper = Deepen(*AddBatchNorms(*wider));
  ASSERT_TRUE(deeper);
  EXPECT_TRUE(CheckNetwork(*deeper).empty());
}

TEST(Grow, ABlockIsPutBehindTheLastReluWithALargeImage) {
  EXPECT_EQ(Describe(*Deepen(Sample())),
            "conv 3x3 x4 -> relu -> max_pool 2x2 -> conv 3x3 x8 -> relu -> conv 3x3 x8 -> "
            "batch_norm -> relu -> max_pool 2x2 -> flatten -> dense 10");
  Network leaky = Sample();
  for (Layer& layer : leaky.layers) {
    if (auto* relu = std::get_if<Relu>(&layer.op)) relu->negative_slope = 0.1;
  }
  EXPECT_FALSE(Deepen(leaky));  // a relu behind it would cut values off
  EXPECT_TRUE(AddResidual(leaky));
}

TEST(Grow, AResidualBlockHasTheChannelsOfItsPlace) {
  const auto deeper = AddResidual(WithResidual());
  ASSERT_TRUE(deeper);
  EXPECT_TRUE(CheckNetwork(*deeper).empty());
  const auto* block = std::get_if<Residual>(&deeper->layers[3].op);
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(std::get<Conv>(block->body.front().op).filters, 8);
  EXPECT_TRUE(std::holds_alternative<BatchNorm>(block->body.back().op));
}

TEST(Grow, KernelsGrowOnceAndKeepTheImage) {
  const auto larger = EnlargeKernels(Sample());
  ASSERT_TRUE(larger);
  EXPECT_EQ(std::get<Conv>(larger->layers[0].op).kernel, (Extent{5, 5}));
  EXPECT_EQ(std::get<Conv>(larger->layers[3].op).kernel, (Extent{5, 5}));
  EXPECT_FALSE(EnlargeKernels(*larger));
  Network padded = Sample();
  std::get<Conv>(padded.layers[0].op).padding = {.top = 1, .bottom = 1, .left = 1, .right = 1};
  const auto grown = EnlargeKernels(padded);
  ASSERT_TRUE(grown);
  EXPECT_TRUE(CheckNetwork(*grown).empty());
  EXPECT_EQ(std::get<Conv>(grown->layers[0].op).padding.top, 2);
}

TEST(Grow, UnitsAreAddedInAHiddenLayerWhichThenWidens) {
  const auto hidden = AddUnits(Sample(), 2, 128, 512);
  ASSERT_TRUE(hidden);
  EXPECT_TRUE(CheckNetwork(*hidden).empty());
  EXPECT_EQ(std::get<Dense>(hidden->layers[7].op).units, 128);
  const auto wider = AddUnits(*hidden, 2, 128, 512);
  ASSERT_TRUE(wider);
  EXPECT_EQ(std::get<Dense>(wider->layers[7].op).units, 256);
  EXPECT_EQ(std::get<Dense>(wider->layers[9].op).units, 10);
  const auto widest = AddUnits(*wider, 2, 128, 512);
  ASSERT_TRUE(widest);
  EXPECT_FALSE(AddUnits(*widest, 2, 128, 512));
}

TEST(Difference, NamesFieldsAsSpecsDo) {
  Configuration from = SampleRequest().configuration;
  Configuration to = from;
  to.training.optimizer.learning_rate = 0.1;
  to.network.layers.insert(to.network.layers.begin() + 1, Layer{BatchNorm{}});
  std::get<Conv>(to.network.layers[4].op).filters = 12;
  const std::vector<Change> changes = Difference(from, to);
  ASSERT_EQ(changes.size(), 3);
  EXPECT_EQ(changes[0], (Change{"network.layers[1]", "", "batch_norm"}));
  EXPECT_EQ(changes[1], (Change{"network.layers[4].conv.filters", "8", "12"}));
  EXPECT_EQ(changes[2], (Change{"train.lr", "0.05", "0.1"}));
}

}  // namespace
}  // namespace trainyard::core
