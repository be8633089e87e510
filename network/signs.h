// What is known of the signs of the values between layers.
#pragma once

#include <vector>

#include "network/network.h"

namespace trainyard::network {

// Whether no value behind the layer is negative, so that a relu there would change nothing, given
// whether none in front of it is (`before`).
bool NonNegativeBehind(const Layer& layer, bool before);
bool NonNegativeBehind(const std::vector<Layer>& layers, bool before);

}  // namespace trainyard::network
