// Whose step is whose.
#include "kernels/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/kernels/graphs.h"

namespace trainyard::kernels {
namespace {

using ::testing::ElementsAre;

TEST(Explain, StepsBelongToTheOpTheyAreNamedAfter) {
  testing::GraphMaker maker({3, 8, 8}, 2, 4);
  const int x = maker.Relu(maker.Conv3x3(0, 8));
  maker.Linear(x, 4);
  Graph graph = maker.graph();
  graph.ops[0].name = "layers.1";
  graph.ops[1].name = "layers.1.1";
  graph.ops[2].name = "layers.1";  // of another kind
  const std::vector<std::string> steps = {
      "load images",      "layers.1 (conv) forward winograd", "layers.1 (linear) forward", "loss",
      "layers.1 (conv)s", "layers.1 (conv) backward winograd"};
  EXPECT_THAT(ExplainSteps(graph, steps),
              ElementsAre("layers.1 (conv) 3x8x8 -> 8x8x8: forward winograd, backward winograd",
                          "layers.1 (linear) 8x8x8 -> 4x1x1: forward"));
}

}  // namespace
}  // namespace trainyard::kernels
