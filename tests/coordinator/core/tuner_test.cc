// The tuner says why a trial missed its target, with numbers, and what to change because of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "coordinator/core/tuner/changes.h"
#include "coordinator/core/tuner/grow.h"
#include "coordinator/core/tuner/policy.h"
#include "network/shapes.h"
#include "tests/coordinator/core/text.h"
#include "tests/sim/random.h"

namespace trainyard::core {
namespace {

using testing::HasSubstr;

const Target kTarget{.metric = TargetMetric::kValAccuracy, .bound = 0.91};

// A trial of the sample network with these accuracies, epoch by epoch.
TrialHistory Trial(std::vector<double> train, std::vector<double> val) {
  TrialHistory trial{.number = 1, .configuration = SampleRequest().configuration};
  for (size_t i = 0; i < val.size(); ++i) {
    trial.epochs.push_back({1 - train[i], train[i], 1 - val[i], val[i], 0.05});
  }
  return trial;
}

FindingKind Kind(const TrialHistory& trial) {
  return PolicyOf(Algorithm::kDiagnose).Diagnose(trial, kTarget).kind;
}

TEST(Diagnose, UnderfitWhenTrainingItselfHeadsBelowTheTarget) {
  const Finding finding =
      PolicyOf(Algorithm::kDiagnose).Diagnose(Trial({.78, .85, .87}, {.80, .85, .87}), kTarget);
  EXPECT_EQ(finding.kind, FindingKind::kUnderfit);
  EXPECT_THAT(finding.text, HasSubstr("0.8700"));
  EXPECT_NEAR(finding.evidence.at("distance"), 0.04, 1e-9);
  EXPECT_NEAR(finding.evidence.at("gap"), 0.0, 1e-9);
}

TEST(Diagnose, OverfitWhenTheGapOutweighsTheDistance) {
  EXPECT_EQ(Kind(Trial({.90, .95, .99}, {.88, .89, .89})), FindingKind::kOverfit);
}

TEST(Diagnose, OverfitWhenTheValidationLossRisesAgain) {
  TrialHistory trial = Trial({.85, .88, .905}, {.86, .87, .87});
  trial.epochs[1].val_loss = 0.30;
  trial.epochs[2].val_loss = 0.36;
  EXPECT_EQ(Kind(trial), FindingKind::kOverfit);
}

TEST(Diagnose, StillImprovingWhenTheCurveLeadsToTheTarget) {
  EXPECT_EQ(Kind(Trial({.75, .82, .87}, {.75, .82, .87})), FindingKind::kStillImproving);
}

TEST(Diagnose, PlateauWhenTrainingGetsThereAndValidationDoesNot) {
  EXPECT_EQ(Kind(Trial({.86, .895, .908}, {.900, .902, .902})), FindingKind::kPlateau);
}

TEST(Diagnose, DivergedAndOutOfMemoryAreWhatTheTrialSaid) {
  TrialHistory trial = Trial({.5}, {.5});
  trial.result = TrialResult::kDiverged;
  EXPECT_EQ(Kind(trial), FindingKind::kDiverged);
  trial.result = TrialResult::kOutOfMemory;
  EXPECT_EQ(Kind(trial), FindingKind::kOutOfMemory);
}

TEST(Diagnose, LossTargetsAreReadTheOtherWayRound) {
  TrialHistory trial = Trial({.8, .8}, {.8, .8});
  for (Metrics& metrics : trial.epochs) metrics.train_loss = metrics.val_loss = 0.5;
  const Finding finding =
      PolicyOf(Algorithm::kDiagnose).Diagnose(trial, {.metric = TargetMetric::kValLoss, .bound = 0.3});
  EXPECT_EQ(finding.kind, FindingKind::kUnderfit);
  EXPECT_NEAR(finding.evidence.at("distance"), 0.2, 1e-9);
}

TEST(Propose, ASmallNetworkFarFromTheTargetGrowsALotAndGetsBatchNorm) {
  const TrialHistory trial = Trial({.78, .85, .86}, {.80, .85, .86});
  const Advice advice = PolicyOf(Algorithm::kDiagnose).Propose({.target = kTarget, .trials = {trial}});
  ASSERT_TRUE(advice.configuration);
  EXPECT_EQ(advice.base, 1);
  EXPECT_FALSE(advice.fresh);
  EXPECT_EQ(network::Describe(advice.configuration->network),
            "conv 3x3 x16 -> batch_norm -> relu -> max_pool 2x2 -> conv 3x3 x32 -> batch_norm -> "
            "relu -> max_pool 2x2 -> flatten -> dense 10");
  EXPECT_EQ(advice.configuration->training, trial.configuration.training);
  EXPECT_EQ(advice.tweak.changes.size(), 4);
  EXPECT_THAT(advice.tweak.reason, HasSubstr("4.0 times the filters"));
  EXPECT_FALSE(advice.tweak.expectation.empty());
}

TEST(Propose, CloseToTheTargetTheNetworkGrowsLess) {
  const TrialHistory trial = Trial({.890, .898, .899}, {.890, .898, .899});
  const Advice advice = PolicyOf(Algorithm::kDiagnose).Propose({.target = kTarget, .trials = {trial}});
  ASSERT_TRUE(advice.configuration);
  EXPECT_EQ(NarrowestConv(advice.configuration->network), 8);
}

TEST(Propose, AfterOverfittingImagesAreShiftedButDigitsNotMirrored) {
  const TrialHistory trial = Trial({.90, .95, .99}, {.88, .89, .89});
  const Advice advice = PolicyOf(Algorithm::kDiagnose).Propose({.target = kTarget, .trials = {trial}});
  ASSERT_TRUE(advice.configuration);
  EXPECT_EQ(advice.configuration->training.augmentation.shift, 2);
  EXPECT_FALSE(advice.configuration->training.augmentation.flip);
  EXPECT_EQ(advice.configuration->network, trial.configuration.network);
}

TEST(Propose, AfterDivergingStepsGetSmallerAndWeightsAreFresh) {
  TrialHistory trial = Trial({.5}, {.5});
  trial.result = TrialResult::kDiverged;
  const Advice advice = PolicyOf(Algorithm::kDiagnose).Propose({.target = kTarget, .trials = {trial}});
  ASSERT_TRUE(advice.configuration);
  EXPECT_TRUE(advice.fresh);
  EXPECT_LT(advice.configuration->training.optimizer.learning_rate, 0.02);
  EXPECT_EQ(advice.configuration->training.optimizer.clip_norm, 1);
}

TEST(Propose, BuildsOnTheBestTrialNotOnTheLast) {
  TrialHistory best = Trial({.86, .88, .885}, {.86, .88, .885});
  TrialHistory last = Trial({.80, .81, .82}, {.80, .81, .82});
  last.number = 2;
  last.configuration.training.optimizer.learning_rate = 0.5;
  const Advice advice = PolicyOf(Algorithm::kDiagnose).Propose({.target = kTarget, .trials = {best, last}});
  ASSERT_TRUE(advice.configuration);
  EXPECT_EQ(advice.base, 1);
  EXPECT_EQ(advice.configuration->training.optimizer.learning_rate, 0.05);
}

TEST(Propose, StaysWithinTheEpochsThatAreLeft) {
  const TrialHistory trial = Trial({.75, .82, .87}, {.75, .82, .87});
  const Advice advice =
      PolicyOf(Algorithm::kDiagnose).Propose({.target = kTarget, .trials = {trial}, .epochs_left = 4});
  ASSERT_TRUE(advice.configuration);
  EXPECT_EQ(advice.configuration->training.epochs, 4);
}

TEST(Propose, NeverExceedsTheLimitOfParameters) {
  const TrialHistory trial = Trial({.78, .85, .86}, {.80, .85, .86});
  const int64_t limit = network::ParameterCount(trial.configuration.network) + 100;
  const Advice advice = PolicyOf(Algorithm::kDiagnose).Propose(
      {.target = kTarget, .limits = {.max_parameters = limit}, .trials = {trial}});
  ASSERT_TRUE(advice.configuration);
  EXPECT_LE(network::ParameterCount(advice.configuration->network), limit);
}

// Random curves, one proposal on top of the other until the tuner says that it stops.
TEST(Propose, IsAlwaysValidNewAndExplainedUntilItSaysWhyItStops) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    sim::Random random(seed);
    TuningTask task{.target = kTarget, .trials = {Trial({.5, .6}, {.5, .6})}};
    if (random.Chance(30)) task.limits.max_parameters = 50'000;
    for (int step = 0; step < 25; ++step) {
      const Advice advice = PolicyOf(Algorithm::kDiagnose).Propose(task);
      if (!advice.configuration) {
        EXPECT_FALSE(advice.stop.empty());
        break;
      }
      const network::Configuration& next = *advice.configuration;
      ASSERT_TRUE(network::CheckNetwork(next.network).empty()) << "seed " << seed;
      ASSERT_TRUE(network::CheckTraining(next.training, next.network).empty()) << "seed " << seed;
      for (const TrialHistory& trial : task.trials) ASSERT_FALSE(trial.configuration == next);
      ASSERT_FALSE(advice.tweak.reason.empty());
      ASSERT_FALSE(advice.tweak.expectation.empty());
      ASSERT_FALSE(advice.tweak.changes.empty());
      ASSERT_FALSE(advice.tweak.finding.text.empty());
      std::vector<double> train;
      std::vector<double> val;
      for (int epoch = 0; epoch < 3; ++epoch) {
        train.push_back(static_cast<double>(random.Between(30, 99)) / 100);
        val.push_back(static_cast<double>(random.Between(30, 90)) / 100);
      }
      TrialHistory trial = Trial(train, val);
      trial.number = static_cast<int>(task.trials.size()) + 1;
      trial.configuration = next;
      if (random.Chance(15)) trial.result = TrialResult::kDiverged;
      if (random.Chance(5)) trial.result = TrialResult::kOutOfMemory;
      task.trials.push_back(trial);
    }
  }
}

TEST(Difference, NamesFieldsAsSpecsDo) {
  network::Configuration from = SampleRequest().configuration;
  network::Configuration to = from;
  to.training.optimizer.learning_rate = 0.1;
  to.network.layers.insert(to.network.layers.begin() + 1, network::Layer{network::BatchNorm{}});
  std::get<network::Conv>(to.network.layers[4].op).filters = 12;
  const std::vector<Change> changes = Difference(from, to);
  ASSERT_EQ(changes.size(), 3);
  EXPECT_EQ(changes[0], (Change{"network.layers[1]", "", "batch_norm"}));
  EXPECT_EQ(changes[1], (Change{"network.layers[4].conv.filters", "8", "12"}));
  EXPECT_EQ(changes[2], (Change{"train.lr", "0.05", "0.1"}));
}

TEST(Grow, ResidualsStillAgreeAfterWidening) {
  using namespace network;  // NOLINT
  Conv conv{.filters = 8, .kernel = {3, 3}};
  conv.padding.same = true;
  Network network{.input = {3, 8, 8}, .classes = 10};
  network.layers = {{conv},
                    {Residual{.body = {{conv}, {Relu{}}, {conv}}}},
                    {GlobalAvgPool{}},
                    {Dense{.units = 10}}};
  ASSERT_TRUE(CheckNetwork(network).empty());
  const auto wider = Widen(network, 1.5, 512);
  ASSERT_TRUE(wider);
  EXPECT_TRUE(CheckNetwork(*wider).empty());
  const auto deeper = Deepen(*AddBatchNorms(*wider));
  ASSERT_TRUE(deeper);
  EXPECT_TRUE(CheckNetwork(*deeper).empty());
}

}  // namespace
}  // namespace trainyard::core
