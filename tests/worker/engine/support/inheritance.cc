#include "tests/worker/engine/support/inheritance.h"

#include <cmath>
#include <numeric>
#include <random>

#include "tests/worker/engine/support/examples.h"
#include "worker/engine/initialise.h"
#include "worker/engine/planner.h"

namespace trainyard::engine {

Checkpoint TrainedBySeed(const network::Network& network, uint64_t seed, bool adam) {
  using Role = network::Parameter::Role;
  Checkpoint checkpoint;
  checkpoint.parameters = network::Parameters(network);
  checkpoint.state =
      InitialState(checkpoint.parameters, network::Initialisation::kHe,
                   adam ? network::OptimizerKind::kAdamW : network::OptimizerKind::kSgd, seed);
  std::mt19937_64 random(seed);
  const auto uniform = [&](double low, double high) {
    return static_cast<float>(std::uniform_real_distribution<>(low, high)(random));
  };
  size_t trainable = 0, statistic = 0;
  for (const network::Parameter& parameter : checkpoint.parameters) {
    std::vector<float>& values =
        parameter.trainable() ? checkpoint.state.parameters : checkpoint.state.statistics;
    size_t& at = parameter.trainable() ? trainable : statistic;
    const bool scale = parameter.role == Role::kGamma || parameter.role == Role::kRunningVar;
    for (int64_t i = 0; i < parameter.size(); ++i, ++at) {
      if (parameter.role == Role::kWeight) continue;
      values[at] = scale ? uniform(0.5, 1.5) : uniform(-0.5, 0.5);
    }
  }
  for (float& moment : checkpoint.state.moment1) moment = uniform(-1, 1);
  for (float& moment : checkpoint.state.moment2) moment = uniform(0, 1);
  return checkpoint;
}

std::vector<float> LogitsOf(const network::Network& network, const kernels::ProgramState& state) {
  constexpr int kImages = 4;
  const network::Shape& in = network.input;
  const Dataset data =
      MakePatterns(kImages, {in.channels, in.height, in.width}, network.classes, 80, 5);
  const auto program = kernels::MakeBackend({"reference", 1})->Lower(MakePlan(network, 4).graph);
  const auto channels = static_cast<size_t>(in.channels);
  program->SetNormalisation(std::vector<float>(channels, 0.5f), std::vector<float>(channels, 4.0f));
  program->WriteState(state);
  std::vector<int32_t> indices(kImages);
  std::iota(indices.begin(), indices.end(), 0);
  std::vector<float> logits(static_cast<size_t>(kImages * network.classes));
  program->Evaluate(data.images(), indices, logits);
  return logits;
}

double RelativeDistance(const std::vector<float>& a, const std::vector<float>& b) {
  double distance = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    distance += std::pow(double{a[i]} - b[i], 2);
    norm += std::pow(double{b[i]}, 2);
  }
  return std::sqrt(distance) / std::max(std::sqrt(norm), 1e-30);
}

}  // namespace trainyard::engine
