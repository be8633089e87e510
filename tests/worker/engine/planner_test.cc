// A network becomes the op graph that says the same.
#include "worker/engine/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/check.h"
#include "tests/worker/engine/support/examples.h"

namespace trainyard::engine {
namespace {

using kernels::Op;
using kernels::OpKind;
using ::testing::ElementsAre;

std::vector<OpKind> Kinds(const Plan& plan) {
  std::vector<OpKind> kinds;
  for (const Op& op : plan.graph.ops) kinds.push_back(op.kind);
  return kinds;
}

std::vector<std::string> Names(const Plan& plan) {
  std::vector<std::string> names;
  for (const Op& op : plan.graph.ops) names.push_back(op.name);
  return names;
}

TEST(Planner, EverythingNetworkBecomesAConsistentGraph) {
  const Plan plan = MakePlan(EverythingNetwork({1, 12, 12}, 5), 16);
  kernels::CheckGraph(plan.graph);
  EXPECT_EQ(plan.graph.batch_size, 16);
  EXPECT_EQ(plan.graph.classes, 5);
  EXPECT_THAT(Names(plan), ElementsAre("layers.0", "layers.1", "layers.2", "layers.3", "layers.4",
                                       "layers.5.body.0", "layers.5.body.1", "layers.5.body.2",
                                       "layers.5.body.3", "layers.5.body.4", "layers.5.shortcut.0",
                                       "layers.5.shortcut.1", "layers.5", "layers.6", "layers.8",
                                       "layers.9", "layers.10", "layers.11"));
  EXPECT_EQ(plan.dropout_rates, (std::vector<float>{0.2f, 0.3f}));
  EXPECT_EQ(plan.graph.ops[16].dropout, 1);
}

TEST(Planner, ResidualReadsItsInputOnBothSidesAndAddsTheirOutputs) {
  const Plan plan = MakePlan(EverythingNetwork({1, 12, 12}, 5), 16);
  const int input = plan.graph.ops[4].output;
  EXPECT_THAT(plan.graph.ops[5].inputs, ElementsAre(input));
  EXPECT_THAT(plan.graph.ops[10].inputs, ElementsAre(input));
  EXPECT_THAT(plan.graph.ops[12].inputs,
              ElementsAre(plan.graph.ops[9].output, plan.graph.ops[11].output));
}

TEST(Planner, EmptyShortcutIsTheIdentity) {
  network::Residual residual;
  residual.body = {Convolution(4, 3)};
  const Plan plan =
      MakePlan({{4, 6, 6}, 3, {{residual}, {network::GlobalAvgPool{}}, {network::Dense{3}}}}, 2);
  kernels::CheckGraph(plan.graph);
  EXPECT_THAT(plan.graph.ops[1].inputs, ElementsAre(plan.graph.ops[0].output, 0));
}

TEST(Planner, ParametersFillTheSpanInLayerOrderWithoutGaps) {
  const Plan plan = MakePlan(EverythingNetwork({1, 12, 12}, 5), 16);
  int64_t trainable = 0, statistics = 0;
  size_t slice = 0;
  for (const network::Parameter& parameter : plan.parameters) {
    if (!parameter.trainable()) {
      statistics += parameter.size();
      continue;
    }
    ASSERT_LT(slice, plan.graph.slices.size());
    EXPECT_EQ(plan.graph.slices[slice].offset, trainable) << parameter.name;
    EXPECT_EQ(plan.graph.slices[slice].size, parameter.size()) << parameter.name;
    EXPECT_EQ(plan.graph.slices[slice].decays, parameter.name.ends_with(".weight"))
        << parameter.name;
    trainable += parameter.size();
    ++slice;
  }
  EXPECT_EQ(slice, plan.graph.slices.size());
  EXPECT_EQ(plan.graph.parameter_count, trainable);
  EXPECT_EQ(plan.graph.statistic_count, statistics);
  const Op& norm = plan.graph.ops[1];
  EXPECT_EQ(norm.offsets.weight, 8 * 9 + 8);
  EXPECT_EQ(norm.offsets.bias, 8 * 9 + 8 + 8);
  EXPECT_EQ(norm.offsets.running_mean, 0);
  EXPECT_EQ(norm.offsets.running_var, 8);
  EXPECT_EQ(plan.graph.ops[6].offsets.running_mean, 16);
}

TEST(Planner, SamePaddingIsResolvedWithTheOddPixelAtTheBottomAndRight) {
  network::Conv conv;
  conv.filters = 2;
  conv.kernel = {4, 5};
  conv.stride = {2, 1};
  conv.padding.same = true;
  const Plan plan =
      MakePlan({{1, 7, 6}, 2, {{conv}, {network::GlobalAvgPool{}}, {network::Dense{2}}}}, 1);
  const Op& op = plan.graph.ops[0];
  EXPECT_EQ(op.pad_top, 1);
  EXPECT_EQ(op.pad_bottom, 2);
  EXPECT_EQ(op.pad_left, 2);
  EXPECT_EQ(op.pad_right, 2);
  kernels::CheckGraph(plan.graph);
}

TEST(Planner, FlattenVanishesBehindWhateverDoesNotCareForShape) {
  const network::Network network{{1, 4, 4},
                                 3,
                                 {Convolution(2, 3),
                                  {network::Flatten{}},
                                  {network::Relu{}},
                                  {network::Dropout{0.5}},
                                  {network::Dense{3}}}};
  const Plan plan = MakePlan(network, 2);
  kernels::CheckGraph(plan.graph);
  EXPECT_THAT(Kinds(plan),
              ElementsAre(OpKind::kConv, OpKind::kRelu, OpKind::kDropout, OpKind::kLinear));
}

TEST(Planner, FlattenThatChangesTheMeaningIsRefusedByName) {
  const network::Network norm{
      {2, 4, 4}, 3, {{network::Flatten{}}, {network::BatchNorm{}}, {network::Dense{3}}}};
  EXPECT_TRUE(ThrowsNaming([&] { MakePlan(norm, 2); }, {"layers.1 (batch_norm)", "2x4x4"}));
  network::Residual residual;
  residual.body = {{network::Dense{32}}};
  const network::Network sum{{2, 4, 4}, 3, {{network::Flatten{}}, {residual}, {network::Dense{3}}}};
  EXPECT_TRUE(ThrowsNaming([&] { MakePlan(sum, 2); }, {"layers.1 (residual)"}));
  const network::Network last{{1, 2, 2}, 4, {Convolution(1, 3), {network::Flatten{}}}};
  EXPECT_TRUE(ThrowsNaming([&] { MakePlan(last, 2); }, {"output"}));
}

TEST(Planner, FlattenOfWhatIsFlatAlreadyIsNothing) {
  const network::Network network{{2, 4, 4},
                                 3,
                                 {{network::GlobalAvgPool{}},
                                  {network::Flatten{}},
                                  {network::BatchNorm{}},
                                  {network::Dense{3}}}};
  kernels::CheckGraph(MakePlan(network, 2).graph);
}

TEST(Planner, NetworkWithoutWeightsIsRefused) {
  const network::Network network{{3, 4, 4}, 3, {{network::GlobalAvgPool{}}}};
  EXPECT_TRUE(ThrowsNaming([&] { MakePlan(network, 2); }, {"no weights"}));
}

}  // namespace
}  // namespace trainyard::engine
