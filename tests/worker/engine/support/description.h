// Networks and hyperparameters from JSON, so that tests in C++ and Python speak of the same ones:
//   {"input": [1, 28, 28], "classes": 10, "layers": [
//     {"conv": {"filters": 8, "kernel": [3, 3], "stride": [1, 1], "padding": "same", "groups": 1,
//               "bias": true}},          padding: "same" or [top, bottom, left, right]
//     {"batch_norm": {}}, {"relu": {"slope": 0.1}},
//     {"max_pool": {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0, 0, 0]}}, {"avg_pool":
//     ...},
//     {"global_avg_pool": {}}, {"dropout": {"rate": 0.5}}, {"flatten": {}},
//     {"dense": {"units": 10, "bias": true}},
//     {"residual": {"body": [...], "shortcut": [...]}}]}
#pragma once

#include <nlohmann/json.hpp>

#include "network/training.h"

namespace trainyard::engine {

network::Network ParseNetwork(const nlohmann::json& json);

// Keys as in network/training.h; what is absent keeps its default.
network::Training ParseTraining(const nlohmann::json& json);

}  // namespace trainyard::engine
