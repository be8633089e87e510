#include "tests/sim/toy.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "network/shapes.h"
#include "tests/sim/random.h"

namespace trainyard::sim {

std::string Sha(const Blob& blob) {
  return absl::StrCat(absl::Hex(Mix(blob.weights ^ static_cast<uint64_t>(blob.step))));
}

int EpochsOf(const network::Configuration& configuration) {
  constexpr int kOfTheProgram = 2;
  if (!configuration.IsProgram()) return configuration.training.epochs;
  return configuration.changes.epochs > 0 ? configuration.changes.epochs : kOfTheProgram;
}

uint64_t FreshWeights(const network::Configuration& configuration) {
  if (configuration.IsProgram()) {
    const network::ProgramChanges& changes = configuration.changes;
    return Mix(static_cast<uint64_t>(changes.width * 100) ^ Mix(changes.added_dense));
  }
  const auto parameters = static_cast<uint64_t>(network::ParameterCount(configuration.network));
  return Mix(Mix(configuration.training.seed) ^ parameters);
}

uint64_t InheritedWeights(const network::Configuration& configuration, uint64_t parent) {
  return Mix(parent ^ FreshWeights(configuration));
}

uint64_t StepOnce(uint64_t weights, int64_t step, const network::Configuration& with) {
  const double rate = with.IsProgram() ? 0 : with.training.optimizer.learning_rate;
  return Mix(weights + static_cast<uint64_t>(step) + Mix(std::bit_cast<uint64_t>(rate)));
}

int64_t EffectiveStep(const core::Adjustment& adjustment) {
  if (!adjustment.at_epoch) return adjustment.step;
  return (adjustment.step + kStepsPerEpoch - 1) / kStepsPerEpoch * kStepsPerEpoch;
}

const network::Configuration& EffectiveAt(const network::Configuration& from,
                                          const std::vector<core::Adjustment>& adjustments,
                                          int64_t step) {
  const network::Configuration* effective = &from;
  for (const core::Adjustment& adjustment : adjustments) {
    if (EffectiveStep(adjustment) <= step) effective = &adjustment.configuration;
  }
  return *effective;
}

std::vector<int64_t> AdjustedAt(const std::vector<core::Adjustment>& adjustments,
                                int64_t steps_done) {
  std::vector<int64_t> steps;
  for (const core::Adjustment& adjustment : adjustments) {
    if (EffectiveStep(adjustment) < steps_done) steps.push_back(EffectiveStep(adjustment));
  }
  return steps;
}

core::Metrics Measure(const network::Configuration& configuration, int epoch, uint64_t weights) {
  const network::ProgramChanges& changes = configuration.changes;
  const bool program = configuration.IsProgram();
  const double rate =
      program ? 0.001 + changes.learning_rate : configuration.training.optimizer.learning_rate;
  if (rate > 1) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    return {nan, nan, nan, nan, rate};
  }
  const double size =
      program ? std::max(changes.width, 1.0)
              : static_cast<double>(network::ParameterCount(configuration.network)) / 4000;
  const double noise = static_cast<double>(weights % 1000) * 1e-7;
  const double error = 0.12 * std::pow(size, -0.25) + 0.3 * std::pow(0.5, epoch) + noise;
  return {2 * error, 1 - error + 0.01, 2.2 * error, 1 - error, rate};
}

}  // namespace trainyard::sim
