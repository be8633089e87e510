// First weights have the distribution their formula promises and depend on nothing but the seed.
#include "worker/engine/initialise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "tests/worker/engine/support/faults.h"

namespace trainyard::engine {
namespace {

using network::Initialisation;
using network::OptimizerKind;
using network::Parameter;
using Role = Parameter::Role;

// conv 3x3 from 16 to 64 channels in two groups, then batch norm.
std::vector<Parameter> SomeParameters() {
  return {{"layers.0.weight", Role::kWeight, {64, 8, 3, 3}, 72, 576},
          {"layers.0.bias", Role::kBias, {64}, 72, 576},
          {"layers.1.gamma", Role::kGamma, {64}},
          {"layers.1.beta", Role::kBeta, {64}},
          {"layers.1.running_mean", Role::kRunningMean, {64}},
          {"layers.1.running_var", Role::kRunningVar, {64}}};
}

struct Moments {
  double mean = 0, deviation = 0, largest = 0, fourth = 0;
};

Moments Measure(std::span<const float> values) {
  Moments moments;
  for (float v : values) moments.mean += v / values.size();
  double square = 0;
  for (float v : values) {
    square += std::pow(v - moments.mean, 2) / values.size();
    moments.fourth += std::pow(v - moments.mean, 4) / values.size();
    moments.largest = std::max(moments.largest, std::abs(double{v}));
  }
  moments.deviation = std::sqrt(square);
  moments.fourth /= square * square;
  return moments;
}

TEST(Initialise, HeWeightsAreNormalWithTheDeviationOfTheirFanIn) {
  const auto state = InitialState(SomeParameters(), Initialisation::kHe, OptimizerKind::kSgd, 7);
  const Moments moments = Measure(std::span(state.parameters).first(64 * 72));
  EXPECT_NEAR(moments.mean, 0, 0.01);
  EXPECT_NEAR(moments.deviation, std::sqrt(2.0 / 72), 0.005);
  EXPECT_NEAR(moments.fourth, 3, 0.3);  // a normal distribution's kurtosis
}

TEST(Initialise, GlorotWeightsAreUniformWithinTheirBounds) {
  const auto state =
      InitialState(SomeParameters(), Initialisation::kGlorot, OptimizerKind::kSgd, 7);
  const Moments moments = Measure(std::span(state.parameters).first(64 * 72));
  const double bound = std::sqrt(6.0 / (72 + 576));
  EXPECT_LE(moments.largest, bound);
  EXPECT_GT(moments.largest, 0.99 * bound);
  EXPECT_NEAR(moments.deviation, bound / std::sqrt(3), 0.002);
  EXPECT_NEAR(moments.fourth, 1.8, 0.1);  // a uniform distribution's kurtosis
}

TEST(Initialise, OnlyWeightsAreRandom) {
  const auto state = InitialState(SomeParameters(), Initialisation::kHe, OptimizerKind::kAdamW, 7);
  const std::span<const float> rest = std::span(state.parameters).subspan(64 * 72);
  ASSERT_EQ(rest.size(), 3u * 64);
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(rest[i], 0) << "bias";
    EXPECT_EQ(rest[64 + i], 1) << "gamma";
    EXPECT_EQ(rest[128 + i], 0) << "beta";
    EXPECT_EQ(state.statistics[i], 0) << "running mean";
    EXPECT_EQ(state.statistics[64 + i], 1) << "running variance";
  }
  EXPECT_EQ(state.moment1, std::vector<float>(state.parameters.size(), 0.0f));
  EXPECT_EQ(state.moment2, std::vector<float>(state.parameters.size(), 0.0f));
}

TEST(Initialise, SameSeedSameWeightsOtherSeedOrPlaceOthers) {
  const auto one = InitialState(SomeParameters(), Initialisation::kHe, OptimizerKind::kSgd, 7);
  const auto same = InitialState(SomeParameters(), Initialisation::kHe, OptimizerKind::kSgd, 7);
  const auto other = InitialState(SomeParameters(), Initialisation::kHe, OptimizerKind::kSgd, 8);
  EXPECT_EQ(one.parameters, same.parameters);
  EXPECT_NE(one.parameters, other.parameters);
  std::vector<Parameter> twice = {SomeParameters()[0], SomeParameters()[0]};
  const auto state = InitialState(twice, Initialisation::kHe, OptimizerKind::kSgd, 7);
  EXPECT_FALSE(std::equal(state.parameters.begin(), state.parameters.begin() + 64 * 72,
                          state.parameters.begin() + 64 * 72));
}

TEST(Initialise, TakesNoMoreThreadsThanItMayAndDoesWithThoseThatTheSystemHas) {
  const std::vector<Parameter> large = {
      {"layers.0.weight", Role::kWeight, {1024, 1024}, 1024, 1024}};
  const auto draw = [&](int threads) {
    return InitialState(large, Initialisation::kHe, OptimizerKind::kSgd, 7, threads).parameters;
  };
  const std::vector<float> alone = draw(1);
  {
    const WithFaults faults({});
    EXPECT_EQ(draw(5), alone);
    EXPECT_EQ(faults.threads_started(), 4);
  }
  for (const int most : {0, 2}) {
    const WithFaults faults({.threads_max = most});
    EXPECT_EQ(draw(5), alone);
    EXPECT_EQ(faults.threads_started(), most);
  }
}

}  // namespace
}  // namespace trainyard::engine
