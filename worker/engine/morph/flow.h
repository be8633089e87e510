// How the values at one place of a child relate to those at the same place of its parent.
#pragma once

#include <vector>

#include "network/network.h"

namespace trainyard::engine {

inline constexpr int kNew = -1;  // in Flow::source: a channel that the parent does not have

struct Flow {
  network::Shape parent, child;
  std::vector<int> source;    // by the child's channels: the parent's channel it repeats, or kNew
  bool exact = true;          // sourced channels hold the parent's values, but for rounding
  bool non_negative = false;  // the parent's values are
};

// Which of a parent's channels each of a child's repeats, a function of both numbers only, so that
// all layers that meet in a sum agree. The first ones are the parent's, further ones are new, fewer
// leave the last out. `groups` are those of the network's convs: where they divide both numbers,
// every group keeps its own channels.
std::vector<int> MapChannels(int parent, int child, const std::vector<int>& groups);

// Behind a flatten of both: pixels of other places go by the nearest.
void Flatten(Flow* flow);

}  // namespace trainyard::engine
