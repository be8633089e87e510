// Which ops of a graph the cpu backend computes together. A group is an op that needs a pass of its
// own (its head) and the cheap ops behind it that are done on the way: where the head's result is
// stored, or where it is read (View and Epilogue in simd/staging.h).
//
//   conv    [2x2 max pool, ReLU in any order] [dropout]     stored as it comes out
//   conv    [2x2 max pool] [batch norm [ReLU]]              normalised where it is read
//   linear  [ReLU]      linear [batch norm [ReLU]]      add [ReLU]
//   batch norm [ReLU]      ReLU                             nothing: both where it is read
//   pool      dropout
//
// An op joins a group only if nothing else reads what it reads.
#pragma once

#include <vector>

#include "kernels/graph.h"

namespace trainyard::kernels::cpu {

struct Group {
  int head = -1;
  int pool = -1, norm = -1, relu = -1, dropout = -1;  // ops that joined, the head too; -1: none
  int output = -1;                                    // value that others read

  // Of the ReLU that joined; 1: none.
  float slope(const Graph& graph) const;
  // The same where it cuts what is stored; 1 where who reads it does so, behind the batch norm.
  float stored_slope(const Graph& graph) const;
};

// In the order of their heads; every op is in one group.
std::vector<Group> GroupsOf(const Graph& graph);

}  // namespace trainyard::kernels::cpu
