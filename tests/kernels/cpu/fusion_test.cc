// Which ops are computed together, and which must not be.
#include "kernels/cpu/fusion.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

using cpu::Group;
using cpu::GroupsOf;

// "0+2p+1r": head 0 with the pool 2 and the ReLU 1.
std::string Describe(const Graph& graph) {
  std::string text;
  for (const Group& group : GroupsOf(graph)) {
    text += (text.empty() ? "" : " ") + std::to_string(group.head);
    auto joined = [&](int op, const char* what) {
      if (op >= 0 && op != group.head) text += "+" + std::to_string(op) + what;
    };
    joined(group.pool, "p");
    joined(group.norm, "n");
    joined(group.relu, "r");
    joined(group.dropout, "d");
  }
  return text;
}

int Pool2(GraphMaker& net, int x) { return net.Pool(x, OpKind::kMaxPool, 2, 2, 2, 2, {}); }

TEST(Fusion, TheClassicNetworkIsFourPasses) {
  EXPECT_EQ(Describe(KerasCnn(4)), "0+1r 2+4p+3r+5d 6+7r 8 9");
}

TEST(Fusion, PoolBatchNormAndReluJoinTheirConvolutionInEveryOrderThatKeepsTheMeaning) {
  GraphMaker net({1, 8, 8}, 2, 3);
  int x = net.Relu(net.BatchNorm(Pool2(net, net.Conv3x3(0, 8))));  // 0 to 3
  x = Pool2(net, net.Relu(net.BatchNorm(net.Conv3x3(x, 8))));      // 4 to 7: a pool of its own
  x = net.Relu(Pool2(net, net.Conv3x3(x, 8)));                     // 8 to 10
  net.Linear(x, 3);
  EXPECT_EQ(Describe(net.graph()), "0+1p+2n+3r 4+5n+6r 7 8+9p+10r 11");
}

TEST(Fusion, ResidualSumsTakeTheirReluAndReadNormalisedBranches) {
  GraphMaker net({1, 8, 8}, 2, 3);
  const int x = net.Relu(net.BatchNorm(net.Conv3x3(0, 8)));                     // 0 to 2
  const int body = net.BatchNorm(net.Conv3x3(net.Relu(net.Conv3x3(x, 8)), 8));  // 3 to 6
  net.Linear(net.Relu(net.Add(body, x)), 3);                                    // 7, 8, 9
  EXPECT_EQ(Describe(net.graph()), "0+1n+2r 3+4r 5+6n 7+8r 9");
}

TEST(Fusion, WhatOthersReadTooIsStored) {
  GraphMaker net({1, 8, 8}, 2, 3);
  const int conv = net.Conv3x3(0, 8);
  net.Linear(net.Add(net.Relu(conv), net.BatchNorm(conv)), 3);
  EXPECT_EQ(Describe(net.graph()), "0 1 2 3 4");
}

TEST(Fusion, OtherPoolsAndReluThatTurnTheSignStandAlone) {
  GraphMaker net({1, 12, 12}, 2, 3);
  int x = net.Pool(net.Conv3x3(0, 8), OpKind::kMaxPool, 3, 3, 2, 2, {});  // 0, 1: windows overlap
  x = net.Pool(net.Conv3x3(x, 8), OpKind::kAvgPool, 2, 2, 2, 2, {});      // 2, 3
  x = net.Relu(net.Conv3x3(x, 8), -0.5f);                                 // 4, 5
  x = net.Relu(net.BatchNorm(net.Conv3x3(x, 8)), -0.5f);                  // 6, 7, 8: seen before it
  net.Linear(x, 3);
  EXPECT_EQ(Describe(net.graph()), "0 1 2 3 4 5 6+7n+8r 9");
}

TEST(Fusion, NothingJoinsBehindDropoutAndDropoutNotBehindBatchNorm) {
  GraphMaker net({1, 8, 8}, 2, 3);
  int x = net.Relu(net.Dropout(net.Conv3x3(0, 8)));            // 0, 1, 2
  x = net.Dropout(net.Relu(net.BatchNorm(net.Linear(x, 5))));  // 3 to 6
  net.Linear(x, 3);
  EXPECT_EQ(Describe(net.graph()), "0+1d 2 3+4n+5r 6 7");
}

}  // namespace
}  // namespace trainyard::kernels::testing
