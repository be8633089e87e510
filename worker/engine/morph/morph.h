// Grows a network from a trained one: the child takes over every weight of its parent that has a
// place in it, and what is new starts so that the child gives the parent's logits, where the
// mathematics allows it.
//
//   wider      Net2Wider (Chen et al., "Net2Net", 2016)
//   deeper     identity-initialised conv, batch norm, dense and residual blocks (Net2Deeper; Wei et
//              al., "Network Morphism", 2016)
//   kernels    the parent's in the middle of zeros
//   others     dropout, activation slopes, groups: weights are kept, logits may change
#pragma once

#include <string>
#include <vector>

#include "kernels/backend.h"
#include "network/training.h"
#include "worker/engine/checkpoint.h"

namespace trainyard::engine {

struct Inheritance {
  kernels::ProgramState state;  // the child's, in canonical layout; moments may be empty: zeros
  bool preserving = false;      // the child gives the parent's logits, but for rounding
  std::vector<std::string>
      lines;  // what became of the layers, for logs: "layers.0.conv: 16 of 32 filters taken over"
};

// `parent` is the network that `checkpoint` was made with; `child` is valid, takes the same images
// and has as many classes. New values are drawn by child.training.seed. Throws kernels::Error where
// the checkpoint is not the parent's, or the two have nothing in common.
Inheritance Inherit(const network::Network& parent, const Checkpoint& checkpoint,
                    const network::Configuration& child);

}  // namespace trainyard::engine
