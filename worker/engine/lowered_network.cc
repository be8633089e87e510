#include "worker/engine/lowered_network.h"

#include <algorithm>
#include <utility>

#include "worker/engine/timeline.h"

namespace trainyard::engine {
LoweredNetwork LowerNetwork(const network::Configuration& configuration, int64_t training_images,
                            kernels::BackendOptions options,
                            std::unique_ptr<kernels::Backend> backend) {
  CheckConfiguration(configuration, "");
  const network::Training& training = configuration.training;
  LoweredNetwork lowered;
  lowered.plan =
      MakePlan(configuration.network,
               static_cast<int>(std::min<int64_t>(training.batch_size, training_images)));
  options.precision = PrecisionOf(training);
  lowered.backend = backend != nullptr ? std::move(backend) : kernels::MakeBackend(options);
  lowered.program = lowered.backend->Lower(lowered.plan.graph);
  return lowered;
}

}  // namespace trainyard::engine
