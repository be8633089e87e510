// What the engine makes of images with given weights: the same planner and kernels as in training.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "network/network.h"

namespace trainyard::logits {

// A Network of spec.proto in its JSON form. Throws kernels::Error.
network::Network ParseNetwork(const std::string& json);

// Logits of all images, one row each. `pixels`: bytes, (count, channels, height, width); the
// network gets them divided by 255. `weights`: a safetensors file. Throws kernels::Error.
std::vector<float> ComputeLogits(const network::Network& network, std::string_view weights,
                                 std::string_view pixels, const std::string& backend);

}  // namespace trainyard::logits
