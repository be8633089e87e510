// A network's plan and program, which take no data to make: so they can be made while these are
// loaded.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/backend.h"
#include "network/training.h"
#include "worker/engine/planner.h"

namespace trainyard::engine {

struct LoweredNetwork {
  Plan plan;
  std::unique_ptr<kernels::Backend> backend;
  std::unique_ptr<kernels::Program> program;  // goes before the backend
};

// Batches are as large as the configuration says, or as all of the training images if these are
// fewer. `backend`: in place of one made from the options, whose precision is the configuration's.
// Throws kernels::Error for a configuration that is wrong, and as MakePlan, MakeBackend and Lower.
LoweredNetwork LowerNetwork(const network::Configuration& configuration, int64_t training_images,
                            kernels::BackendOptions options,
                            std::unique_ptr<kernels::Backend> backend = nullptr);

}  // namespace trainyard::engine
