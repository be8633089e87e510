// What differs between two configurations, field by field, under the names that specs use.
#pragma once

#include <vector>

#include "coordinator/core/tuner/tweak.h"
#include "network/training.h"

namespace trainyard::core {

// Empty if they are equal. Layers are matched in order; one that was put in or taken out is one
// change with the layer as text and the other side empty.
std::vector<Change> Difference(const network::Configuration& from,
                               const network::Configuration& to);

}  // namespace trainyard::core
