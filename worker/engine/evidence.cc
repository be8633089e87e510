#include "worker/engine/evidence.h"

#include <algorithm>
#include <cmath>

namespace trainyard::engine {

using network::Parameter;

double UpdateRatio(std::span<const float> before, std::span<const float> after) {
  double moved = 0, size = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const double difference = double{after[i]} - double{before[i]};
    moved += difference * difference;
    size += double{before[i]} * double{before[i]};
  }
  return size > 0 ? std::sqrt(moved / size) : 0;
}

double DeadUnits(const std::vector<Parameter>& parameters, std::span<const float> gradients) {
  // Of the last weights seen, which may be those of the last layer.
  int64_t units = 0, dead = 0;
  int64_t hidden = 0, hidden_dead = 0;
  for (const Parameter& parameter : parameters) {
    if (!parameter.trainable()) continue;
    const std::span<const float> values = gradients.first(static_cast<size_t>(parameter.size()));
    gradients = gradients.subspan(values.size());
    if (parameter.role != Parameter::Role::kWeight) continue;
    hidden += units;
    hidden_dead += dead;
    units = parameter.dims[0];
    dead = 0;
    const size_t inputs = values.size() / static_cast<size_t>(units);
    for (size_t at = 0; at < values.size(); at += inputs) {
      const auto incoming = values.subspan(at, inputs);
      dead += std::all_of(incoming.begin(), incoming.end(), [](float g) { return g == 0; });
    }
  }
  return hidden > 0 ? static_cast<double>(hidden_dead) / static_cast<double>(hidden) : 0;
}

}  // namespace trainyard::engine
