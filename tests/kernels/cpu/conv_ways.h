// What the cpu backend says of how it computes convolutions.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "kernels/backend.h"
#include "kernels/graph.h"

namespace trainyard::kernels::testing {

// By the op's index: "first", "winograd 4x4", "direct", ... A convolution of which nothing is said
// is a failure.
inline std::map<size_t, std::string> ConvWays(const Graph& graph, const Program& program) {
  std::map<size_t, std::string> ways;
  for (const std::string& line : program.Explain()) {
    for (size_t i = 0; i < graph.ops.size(); ++i) {
      if (graph.ops[i].kind != OpKind::kConv) continue;
      if (!line.starts_with(graph.ops[i].name + " (conv) ")) continue;
      const std::string how = line.substr(line.find(": ") + 2);
      ways[i] = how.substr(0, how.find(','));
    }
  }
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    EXPECT_EQ(ways.contains(i), graph.ops[i].kind == OpKind::kConv) << graph.ops[i].name;
  }
  return ways;
}

}  // namespace trainyard::kernels::testing
