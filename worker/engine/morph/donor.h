// Weights that a conv or dense layer of a child's can take over: those of its parent's, or of a
// layer that the parent could have had without giving other logits.
#pragma once

#include <vector>

#include "worker/engine/morph/filters.h"

namespace trainyard::engine {

struct Donor {
  FilterShape shape;
  std::vector<float> weight, bias;                // without a bias: zeros
  std::vector<float> weight_moment, bias_moment;  // none: zeros
  bool given = false;                             // the parent has it
};

// y = x, channel by channel.
Donor IdentityDonor(const network::Shape& in);

// Of a dense layer z = W x + b: (z, -z), and z again from what a relu of the slope lets through,
// relu(z) - relu(-z) = (1 + slope) z.
struct Mirrored {
  Donor both, difference;
};
// `bias_first`: the first of the two adds b, else the second.
Mirrored MirrorDonors(const Donor& dense, double negative_slope, bool bias_first);

}  // namespace trainyard::engine
