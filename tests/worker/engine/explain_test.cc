// What is told of a network is what its backend says of it, op by op.
#include "worker/engine/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "kernels/check.h"
#include "tests/worker/engine/support/examples.h"
#include "worker/engine/planner.h"

namespace trainyard::engine {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<std::string> LinesOf(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

network::Configuration Example() {
  network::Configuration configuration;
  configuration.network = EverythingNetwork({1, 12, 12}, 5);
  configuration.training.batch_size = 6;
  return configuration;
}

class ExplainTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ExplainTest, TheBackendsWordsStandBelowWhatTheNetworkTakes) {
  const kernels::BackendOptions options{.name = GetParam(), .threads = 2};
  const std::vector<std::string> lines = LinesOf(Explain(Example(), options));
  const kernels::Graph graph = MakePlan(Example().network, 6).graph;
  const auto program = kernels::MakeBackend(options)->Lower(graph);
  const std::vector<std::string> told = program->Explain();
  ASSERT_EQ(lines.size(), 3 + told.size());
  EXPECT_EQ(lines[0], program->Fingerprint());
  EXPECT_EQ(lines[1], "batches of 6, " + std::to_string(graph.parameter_count) + " parameters, " +
                          std::to_string((program->MemoryBytes() + 1048575) / 1048576) + " MiB");
  EXPECT_EQ(lines[2], "");
  for (size_t i = 0; i < told.size(); ++i) EXPECT_EQ(lines[3 + i], told[i]);
}

TEST_P(ExplainTest, EveryOpIsTold) {
  const std::string text = Explain(Example(), {.name = GetParam(), .threads = 1});
  const kernels::Graph graph = MakePlan(Example().network, 6).graph;
  EXPECT_THAT(LinesOf(text)[3], StartsWith(kernels::OpLabel(graph.ops[0]) + " 1x12x12 -> "));
  for (const kernels::Op& op : graph.ops) EXPECT_THAT(text, HasSubstr(kernels::OpLabel(op)));
}

INSTANTIATE_TEST_SUITE_P(Backends, ExplainTest, ::testing::Values(TRAINYARD_BACKENDS),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace trainyard::engine
