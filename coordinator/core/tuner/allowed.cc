#include "coordinator/core/tuner/allowed.h"

#include "network/shapes.h"

namespace trainyard::core {

bool Allowed(const TuningLimits& limits, const network::Configuration& configuration) {
  const network::Network& network = configuration.network;
  if (configuration.IsProgram()) return network::CheckChanges(configuration.changes).empty();
  if (!network::CheckNetwork(network).empty()) return false;
  if (!network::CheckTraining(configuration.training, network).empty()) return false;
  if (limits.max_parameters > 0 && network::ParameterCount(network) > limits.max_parameters) {
    return false;
  }
  return limits.max_training_bytes <= 0 ||
         network::TrainingBytes(network, configuration.training) <= limits.max_training_bytes;
}

}  // namespace trainyard::core
