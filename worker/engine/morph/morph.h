// Grows a network from a trained one: the child takes over every weight of its parent that has a
// place in it, and what is new starts so that the child gives the parent's logits, where the
// mathematics allows it.
//
//   wider      new filters and units start with fresh weights, of which nothing is read at first:
//              what comes behind has zeros for them. One map of channels goes through norms, pools,
//              flatten, sums and groups, as in Net2Net (Chen et al., 2016), which repeats old
//              filters instead; that learned less in as many epochs.
//   deeper     conv, batch norm and dense layers as the identity (Net2DeeperNet, ibid.), a residual
//              with a silent body; a dense layer in front of another also as the pair of signs that
//              a relu lets through: relu(z) - relu(-z) = z
//   kernels    the parent's in the middle of zeros
//   others     what matches is taken over; fewer filters are the first ones, and logits change
//
// Momentum of SGD goes with its weights, as if the new ones had always been zero or unread. Moments
// of AdamW start anew: its steps are counted from 0 again, and so its bias correction is made for
// moments that were zero then.
#pragma once

#include <string>
#include <vector>

#include "kernels/backend.h"
#include "network/training.h"
#include "worker/engine/checkpoint.h"

namespace trainyard::engine {

struct Inheritance {
  kernels::ProgramState state;  // the child's, in canonical layout
  // The child evaluates to the parent's logits, but for rounding. Training differs: dropout and the
  // batch's statistics of a batch norm that was put in act from the first step.
  bool preserving = false;
  std::vector<std::string> lines;  // for logs: "layers.0: 16 of 32 filters taken over"
};

// `parent` is the network that `checkpoint` was made with; `child` is valid, takes the same images
// and has as many classes. New values are drawn by child.training.seed. Throws kernels::Error where
// the checkpoint is not the parent's, or the two have nothing in common. `threads`: for the draws,
// as BackendOptions has them.
Inheritance Inherit(const network::Network& parent, const Checkpoint& checkpoint,
                    const network::Configuration& child, int threads = 0);

}  // namespace trainyard::engine
