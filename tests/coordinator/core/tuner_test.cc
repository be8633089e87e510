// What the tuner tries next: the move that promises most for what the last trials showed, on the
// best of them, and never the same again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "coordinator/core/tuner/expectation.h"
#include "coordinator/core/tuner/grow.h"
#include "coordinator/core/tuner/inheritance.h"
#include "coordinator/core/tuner/moves.h"
#include "network/shapes.h"
#include "tests/coordinator/core/trials.h"
#include "tests/sim/random.h"

namespace trainyard::core {
namespace {

using testing::Contains;
using testing::HasSubstr;

std::vector<std::string> NamesOf(const TrialHistory& trial, TuningLimits limits = {}) {
  const TuningTask task = TaskWith({trial}, limits);
  std::vector<std::string> names;
  for (const Move& move : Moves(trial, Tuner().Diagnose(trial, kTarget), task)) {
    names.push_back(move.name);
  }
  return names;
}

// ---- What follows from a finding ----

TEST(Propose, ASmallNetworkFarFromTheTargetGrowsALotAndGetsBatchNorm) {
  const TrialHistory trial = Trial(kUnderfit, kUnderfit);
  const NextTrial next = Next(TaskWith({trial}, {.inherit = false}));
  EXPECT_EQ(next.base, 1);
  EXPECT_EQ(network::Describe(next.configuration.network),
            "conv 3x3 x16 -> batch_norm -> relu -> max_pool 2x2 -> conv 3x3 x32 -> batch_norm -> "
            "relu -> conv 3x3 x32 -> batch_norm -> relu -> max_pool 2x2 -> flatten -> dense 10");
  EXPECT_EQ(next.configuration.training.epochs, kGrownEpochsMin);
  EXPECT_EQ(next.configuration.training.optimizer, trial.configuration.training.optimizer);
  EXPECT_EQ(next.tweak.changes.size(), 8);
  EXPECT_EQ(next.tweak.move, "grow");
  EXPECT_THAT(next.tweak.reason, HasSubstr("4.0 times the filters"));
  EXPECT_NEAR(next.tweak.expected_gain, 0.14 * (1 - std::pow(4, -0.25)), 1e-9);
  EXPECT_THAT(next.tweak.expectation, HasSubstr("val_accuracy by about 0.0410 to 0.9010"));
}

TEST(Propose, CloseToTheTargetTheNetworkGrowsLess) {
  const std::vector<double> close = {.890, .898, .899};
  EXPECT_EQ(NarrowestConv(Next(TaskWith({Trial(close, close)})).configuration.network), 8);
}

TEST(Propose, ANetworkThatInheritsTrainsForLessTime) {
  TrialHistory trial = Trial(kUnderfit, kUnderfit);
  trial.configuration.training.epochs = trial.current.training.epochs = 10;
  const NextTrial next = Next(TaskWith({trial}));
  EXPECT_TRUE(next.inherit);
  EXPECT_EQ(next.configuration.training.epochs, std::lround(10 * kInheritedEpochs));
  // Most of its weights are new, so the rate stays.
  EXPECT_EQ(next.configuration.training.optimizer.learning_rate, 0.05);
  // What inherited already is built on as it is.
  TrialHistory child = Trained(next.configuration, {.87, .878, .88}, {.87, .878, .88});
  child.inherited = true;
  child.base = 1;
  const NextTrial after = Next(TaskWith({trial, child}));
  EXPECT_EQ(after.base, 2);
  EXPECT_EQ(after.configuration.training, next.configuration.training);
}

TEST(Propose, AfterOverfittingImagesAreShiftedButDigitsNotMirrored) {
  const TrialHistory trial = Trial({.90, .95, .99}, {.88, .89, .89});
  const NextTrial next = Next(TaskWith({trial}));
  EXPECT_EQ(next.tweak.move, "augment");
  EXPECT_EQ(next.configuration.training.augmentation.shift, 2);
  EXPECT_FALSE(next.configuration.training.augmentation.flip);
  EXPECT_EQ(next.configuration.network, trial.configuration.network);
}

TEST(Propose, WhatStillImprovesTrainsLonger) {
  const std::vector<double> rising = {.75, .82, .87};
  TrialHistory trial = Trial(rising, rising);
  trial.current.training.schedule.kind = network::ScheduleKind::kConstant;
  trial.configuration = trial.current;
  const NextTrial next = Next(TaskWith({trial}, {.inherit = false}));
  EXPECT_EQ(next.tweak.move, "train longer");
  EXPECT_EQ(next.configuration.training.epochs, 6);
  // The last gain of an annealed run is the falling rate's, which falls but once.
  EXPECT_EQ(Next(TaskWith({Trial(rising, rising)})).tweak.move, "grow");
}

TEST(Propose, WhatNeverLearnedAtALargeRateStartsAnewAtATenth) {
  TrialHistory trial = Trial({.1, .1, .1}, {.1, .1, .1});
  for (Metrics& metrics : trial.epochs) metrics.train_loss = 2.31;
  trial.configuration.training.optimizer.learning_rate = 1;
  trial.current = trial.configuration;
  const NextTrial next = Next(TaskWith({trial}));
  EXPECT_EQ(next.tweak.move, "lower rate");
  EXPECT_NEAR(next.configuration.training.optimizer.learning_rate, 0.1, 1e-12);
  EXPECT_EQ(next.configuration.training.epochs, trial.current.training.epochs);
  EXPECT_FALSE(next.inherit);
}

TEST(Propose, ALowRateIsRaised) {
  TrialHistory trial = Trial({.60, .65, .67}, {.60, .65, .67});
  trial.configuration.training.optimizer.learning_rate = 0.002;
  trial.current = trial.configuration;
  const NextTrial next = Next(TaskWith({trial}));
  EXPECT_EQ(next.tweak.move, "raise rate");
  EXPECT_NEAR(next.configuration.training.optimizer.learning_rate, 0.01, 1e-12);
}

TEST(Propose, LabelNoiseIsMetWithSmoothLabels) {
  const NextTrial next = Next(TaskWith({Trial({.66, .70, .71}, {.80, .84, .85})}));
  EXPECT_EQ(next.tweak.finding.kind, FindingKind::kLabelNoise);
  EXPECT_EQ(next.tweak.move, "smooth labels");
  EXPECT_EQ(next.configuration.training.label_smoothing, 0.1);
}

TEST(Propose, AMissWithinTheNoiseIsMetAsALargerOneWouldBe) {
  TuningTask task = TaskWith({Trial({.890, .905, .908}, {.890, .905, .908})});
  const std::string as_if_sure = Next(task).tweak.move;
  task.target.images = 5000;
  const NextTrial next = Next(task);
  EXPECT_EQ(next.tweak.finding.kind, FindingKind::kWithinNoise);
  EXPECT_EQ(next.tweak.move, as_if_sure);
  EXPECT_EQ(next.configuration.training.seed, 1);  // luck is no way to a target
}

TEST(Propose, EveryKindOfMoveIsThereForAPlainNetwork) {
  TrialHistory trial = Trial({.86, .895, .908}, {.88, .88, .88});  // a plateau
  trial.configuration.training.schedule.kind = network::ScheduleKind::kConstant;
  trial.configuration.training.optimizer.weight_decay = 1e-3;
  trial.current = trial.configuration;
  const std::vector<std::string> names = NamesOf(trial);
  for (const char* name : {kGrow, kWiden, kBatchNorm, kDeepen, kResidual, kLargerKernels, kAddUnits,
                           kRelax, kTrainLonger, kRaiseRate, kLowerRate, kAnneal, kAugment,
                           kRegularise, kSmoothLabels, kSmallerBatch}) {
    EXPECT_THAT(names, Contains(name));
  }
  for (const std::string& name : NamesOf(trial, {.architecture = false})) {
    for (const char* rebuilds :
         {kGrow, kWiden, kBatchNorm, kDeepen, kResidual, kLargerKernels, kAddUnits}) {
      EXPECT_NE(name, rebuilds);
    }
  }
}

// ---- What broke ----

TEST(Propose, AfterDivergingStepsGetSmallerAndWeightsAreFresh) {
  TrialHistory trial = Trial({.5}, {.5});
  trial.result = TrialResult::kDiverged;
  const NextTrial next = Next(TaskWith({trial}));
  EXPECT_FALSE(next.inherit);
  EXPECT_LT(next.configuration.training.optimizer.learning_rate, 0.02);
  EXPECT_EQ(next.configuration.training.optimizer.clip_norm, 1);
}

TEST(Propose, WhatDivergedFromGoodWeightsStartsFromThemAgain) {
  TuningTask task = TaskWith({Trial(kUnderfit, kUnderfit)});
  TrialHistory broken = Trial({}, {});
  broken.result = TrialResult::kDiverged;
  Follow(task, Next(task), broken);
  const NextTrial next = Next(task);
  EXPECT_EQ(next.base, 1);
  EXPECT_TRUE(next.inherit);
  EXPECT_EQ(next.configuration.network, task.trials[1].configuration.network);
  EXPECT_LT(next.configuration.training.optimizer.learning_rate,
            task.trials[1].configuration.training.optimizer.learning_rate);
}

TEST(Propose, ARaisedRateThatBrokeIsNotRepaired) {
  TrialHistory broken = Trial({}, {});
  broken.result = TrialResult::kDiverged;
  broken.configuration.training.optimizer.learning_rate = 0.1;
  broken.current = broken.configuration;
  broken.move = kRaiseRate;
  broken.base = 1;
  const NextTrial next = Next(TaskWith({Trial(kUnderfit, kUnderfit), broken}));
  EXPECT_EQ(next.tweak.move, "grow");
}

TEST(Propose, RepairsOnlySoOftenInARow) {
  TuningTask task = TaskWith({Trial(kUnderfit, kUnderfit)});
  int repairs = 0;
  for (int i = 0; i < 8; ++i) {
    const NextTrial next = Next(task);
    repairs += next.tweak.finding.kind == FindingKind::kDiverged ? 1 : 0;
    TrialHistory broken = Trial({}, {});
    broken.result = TrialResult::kDiverged;
    Follow(task, next, broken);
  }
  EXPECT_EQ(repairs, 3);
}

TEST(Propose, HalvesTheBatchThatDidNotFitIntoMemory) {
  TrialHistory trial = Trial({}, {});
  trial.result = TrialResult::kOutOfMemory;
  EXPECT_EQ(Next(TaskWith({trial})).configuration.training.batch_size, 64);
}

// ---- On what, and how many ----

TEST(Propose, BuildsOnTheBestTrialNotOnTheLast) {
  TrialHistory last = Trial({.80, .81, .82}, {.80, .81, .82});
  last.configuration.training.optimizer.learning_rate = 0.5;
  const NextTrial next =
      Next(TaskWith({Trial({.86, .88, .885}, {.86, .88, .885}), last}, {.inherit = false}));
  EXPECT_EQ(next.base, 1);
  EXPECT_EQ(next.configuration.training.optimizer.learning_rate, 0.05);
  EXPECT_THAT(next.tweak.finding.text, HasSubstr("trial 2 came no closer"));
}

TEST(Propose, StaysWithinTheEpochsThatAreLeft) {
  TuningTask task = TaskWith({Trial({.75, .82, .87}, {.75, .82, .87})}, {.inherit = false});
  task.epochs_left = 4;
  EXPECT_EQ(Next(task).configuration.training.epochs, 4);
}

TEST(Propose, NeverExceedsTheLimitOfParameters) {
  const TrialHistory trial = Trial(kUnderfit, kUnderfit);
  const int64_t limit = network::ParameterCount(trial.configuration.network) + 100;
  const NextTrial next = Next(TaskWith({trial}, {.max_parameters = limit}));
  EXPECT_LE(network::ParameterCount(next.configuration.network), limit);
}

TEST(Propose, FillsARoundWithDifferentMovesOnTheSameTrial) {
  TuningTask task = TaskWith({Trial(kUnderfit, kUnderfit)});
  task.epochs_left = 10;
  const Advice advice = Tuner().Propose(task, 3);
  ASSERT_EQ(advice.next.size(), 3);
  std::set<std::string> moves;
  int epochs = 0;
  for (const NextTrial& next : advice.next) {
    EXPECT_EQ(next.base, 1);
    moves.insert(next.tweak.move);
    epochs += next.configuration.training.epochs;
  }
  EXPECT_EQ(moves.size(), 3);
  EXPECT_LE(epochs, 10);
}

TEST(Propose, WaitsForTheWholeRound) {
  TrialHistory running = Trial({.8}, {.8});
  running.result = TrialResult::kRunning;
  TuningTask task = TaskWith({Trial(kUnderfit, kUnderfit), running});
  task.last = 1;
  const Advice advice = Tuner().Propose(task, 1);
  EXPECT_TRUE(advice.wait);
  EXPECT_TRUE(advice.next.empty());
  EXPECT_EQ(advice.finding.kind, FindingKind::kUnderfit);
}

TEST(Propose, StopsWhereNothingWasEverMeasured) {
  TrialHistory failed = Trial({}, {});
  failed.result = TrialResult::kFailed;
  const Advice advice = Tuner().Propose(TaskWith({failed}), 1);
  EXPECT_TRUE(advice.next.empty());
  EXPECT_FALSE(advice.stop.empty());
}

// ---- Whatever comes ----

TrialHistory RandomOutcome(sim::Random& random) {
  std::vector<double> train, val;
  for (int64_t epoch = random.Between(0, 4); epoch > 0; --epoch) {
    train.push_back(random.Chance(5) ? NAN : static_cast<double>(random.Between(8, 99)) / 100);
    val.push_back(random.Chance(5) ? NAN : static_cast<double>(random.Between(8, 90)) / 100);
  }
  TrialHistory trial = Trial(train, val);
  for (Metrics& metrics : trial.epochs) {
    if (random.Chance(20)) metrics.train_loss = 2.3;
    if (random.Chance(20)) metrics.update_ratio = random.Chance(50) ? 1e-5 : 0.2;
  }
  for (int i = 0; i < 100 && val.size() > 1; ++i) trial.confusion.push_back(random.Between(0, 9));
  if (random.Chance(15)) trial.result = TrialResult::kDiverged;
  if (random.Chance(5)) trial.result = TrialResult::kOutOfMemory;
  if (random.Chance(5)) trial.result = TrialResult::kFailed;
  return trial;
}

void ExpectSound(const TuningTask& task, const Advice& advice, uint64_t seed) {
  std::vector<network::Configuration> known;
  for (const TrialHistory& trial : task.trials) known.push_back(trial.configuration);
  for (const NextTrial& next : advice.next) {
    const network::Configuration& configuration = next.configuration;
    ASSERT_TRUE(network::CheckNetwork(configuration.network).empty()) << "seed " << seed;
    ASSERT_TRUE(network::CheckTraining(configuration.training, configuration.network).empty())
        << "seed " << seed;
    ASSERT_EQ(std::ranges::count(known, configuration), 0) << "seed " << seed;
    if (task.limits.max_parameters > 0) {
      ASSERT_LE(network::ParameterCount(configuration.network), task.limits.max_parameters);
    }
    known.push_back(configuration);
    ASSERT_GE(next.base, 1);
    ASSERT_LE(next.base, static_cast<int>(task.trials.size()));
    ASSERT_EQ(next.tweak.base, next.base);
    ASSERT_GE(next.tweak.expected_gain, 0);
    ASSERT_FALSE(next.tweak.reason.empty());
    ASSERT_FALSE(next.tweak.expectation.empty());
    ASSERT_FALSE(next.tweak.move.empty());
    ASSERT_FALSE(next.tweak.changes.empty());
    ASSERT_FALSE(next.tweak.finding.text.empty());
  }
}

// Random curves, one round on top of the other until the tuner says that it stops.
TEST(Propose, IsAlwaysValidNewAndExplainedUntilItSaysWhyItStops) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    sim::Random random(seed);
    TuningTask task = TaskWith({Trial({.5, .6}, {.5, .6})});
    if (random.Chance(30)) task.limits.max_parameters = 50'000;
    task.limits.inherit = random.Chance(70);
    task.limits.architecture = random.Chance(80);
    const int room = static_cast<int>(random.Between(1, 3));
    Advice advice;
    do {
      advice = Tuner().Propose(task, room);
      ASSERT_LE(static_cast<int>(advice.next.size()), room);
      ASSERT_NO_FATAL_FAILURE(ExpectSound(task, advice, seed));
      ASSERT_LT(task.trials.size(), 110) << "seed " << seed << " goes on for ever";
      for (const NextTrial& next : advice.next) Follow(task, next, RandomOutcome(random));
    } while (!advice.next.empty());
    EXPECT_FALSE(advice.stop.empty()) << "seed " << seed;
  }
}

TEST(Propose, TheSameHistoryGivesTheSameAdvice) {
  sim::Random random(7);
  TuningTask task = TaskWith({Trial(kUnderfit, kUnderfit)});
  for (int i = 0; i < 10; ++i) {
    const Advice once = Tuner().Propose(task, 2);
    const Advice again = Tuner().Propose(task, 2);
    ASSERT_EQ(once.next.size(), again.next.size());
    for (size_t j = 0; j < once.next.size(); ++j) {
      ASSERT_EQ(once.next[j].configuration, again.next[j].configuration);
      ASSERT_EQ(once.next[j].tweak, again.next[j].tweak);
    }
    for (const NextTrial& next : once.next) Follow(task, next, RandomOutcome(random));
  }
}

}  // namespace
}  // namespace trainyard::core
