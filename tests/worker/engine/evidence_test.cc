// The evidence of an epoch is what its definition says, seen from outside.
#include "worker/engine/evidence.h"

#include <gtest/gtest.h>

#include <cmath>

#include "network/shapes.h"
#include "tests/worker/engine/support/examples.h"
#include "worker/engine/initialise.h"
#include "worker/engine/trainer.h"

namespace trainyard::engine {
namespace {

using Role = network::Parameter::Role;

TEST(Evidence, UpdateRatioIsTheUpdateOverTheWeights) {
  EXPECT_DOUBLE_EQ(UpdateRatio(std::vector<float>{3, 4}, std::vector<float>{3, 4.5f}), 0.1);
  EXPECT_EQ(UpdateRatio(std::vector<float>{0, 0}, std::vector<float>{1, 0}), 0);
}

TEST(Evidence, DeadAreTheHiddenUnitsWithoutAnyGradient) {
  const std::vector<network::Parameter> parameters = {
      {"layers.0.weight", Role::kWeight, {2, 1, 1, 2}},
      {"layers.0.bias", Role::kBias, {2}},
      {"layers.1.running_mean", Role::kRunningMean, {2}},
      {"layers.2.weight", Role::kWeight, {2, 2}},
      {"layers.3.weight", Role::kWeight, {2, 2}}};
  //                          filters     bias  units       logits
  std::vector<float> gradients{0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0};
  EXPECT_EQ(DeadUnits(parameters, gradients), 0.25);
  gradients[7] = gradients[6] = 0;
  EXPECT_EQ(DeadUnits(parameters, gradients), 0.5);
  EXPECT_EQ(DeadUnits({parameters[0]}, std::vector<float>(4)), 0) << "all of it is the last layer";
}

class EvidenceTest : public ::testing::TestWithParam<std::string> {
 protected:
  EvidenceTest() {
    configuration_.network = PlainNetwork({1, 12, 12}, 5);
    network::Training& training = configuration_.training;
    training.epochs = 1;
    training.batch_size = 20;
    training.optimizer.momentum = 0;
    training.optimizer.nesterov = false;
    training.optimizer.weight_decay = 0;
    training.optimizer.learning_rate = 0.125;
    training.schedule.kind = network::ScheduleKind::kConstant;
  }

  EpochMetrics FirstEpochFrom(const kernels::ProgramState& state, int images) {
    const Dataset data = MakePatterns(images, {1, 12, 12}, 5, 60, 1);
    TrainerOptions options;
    options.backend.name = GetParam();
    options.backend.threads = 1;
    Trainer trainer(configuration_, {&data, &data, 0, 1}, options);
    trainer.StartFromState(state);
    Recorder recorder;
    EXPECT_EQ(trainer.Run(recorder), Outcome::kCompleted);
    return recorder.epochs.at(0);
  }

  kernels::ProgramState Fresh() {
    return InitialState(network::Parameters(configuration_.network),
                        configuration_.training.initialisation, network::OptimizerKind::kSgd, 1);
  }

  network::Configuration configuration_;
};

INSTANTIATE_TEST_SUITE_P(Backends, EvidenceTest, ::testing::Values(TRAINYARD_BACKENDS),
                         [](const auto& info) { return info.param; });

TEST_P(EvidenceTest, OfOneStepOfPlainDescentTheUpdateIsTheRateTimesTheGradient) {
  const kernels::ProgramState fresh = Fresh();
  double weights = 0;
  for (const float w : fresh.parameters) weights += double{w} * w;
  const EpochMetrics metrics = FirstEpochFrom(fresh, 20);
  EXPECT_GT(metrics.gradient_norm, 0);
  EXPECT_NEAR(metrics.update_ratio, 0.125 * metrics.gradient_norm / std::sqrt(weights),
              1e-5 * metrics.update_ratio);
  EXPECT_EQ(metrics.dead_units, 0);
}

TEST_P(EvidenceTest, AFilterThatNoImageReachesIsDeadAndASmallLastBatchMakesNoneLookDead) {
  kernels::ProgramState state = Fresh();
  // conv: 4 filters of 9 weights, then their biases.
  std::fill_n(state.parameters.begin() + 2 * 9, 9, 0.0f);
  state.parameters[4 * 9 + 2] = -1;
  EXPECT_EQ(FirstEpochFrom(state, 20).dead_units, 0.25);
  EXPECT_EQ(FirstEpochFrom(state, 21).dead_units, 0.25);
}

}  // namespace
}  // namespace trainyard::engine
