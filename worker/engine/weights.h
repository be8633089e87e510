// Weights that training starts from in place of fresh ones: a safetensors file with a tensor for
// each parameter and running statistic, by its name ("layers.0.weight"), in the canonical layout.
#pragma once

#include <string_view>
#include <vector>

#include "kernels/backend.h"
#include "network/shapes.h"

namespace trainyard::engine {

// Throws kernels::Error, naming the tensor: missing, of another shape, unknown to the network, not
// finite, a variance below 0; or saying what is wrong with the file. Anybody may have written it,
// so a checksum is verified only where there is one. The moments stay empty: zeros.
kernels::ProgramState ParseWeights(std::string_view bytes,
                                   const std::vector<network::Parameter>& parameters);

}  // namespace trainyard::engine
