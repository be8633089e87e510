// A running trial is ended when it is clear that it cannot make it, slowed down when it trips, and
// otherwise left alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "network/adjust.h"
#include "network/shapes.h"
#include "tests/coordinator/core/trials.h"
#include "tests/sim/random.h"

namespace trainyard::core {
namespace {

using network::ScheduleKind;
using testing::HasSubstr;

TrialHistory Running(ScheduleKind kind, int epochs, const std::vector<double>& train,
                     const std::vector<double>& val) {
  TrialHistory trial = Trial(train, val);
  trial.result = TrialResult::kRunning;
  trial.configuration.training.epochs = epochs;
  trial.configuration.training.schedule.kind = kind;
  trial.current = trial.configuration;
  return trial;
}

std::optional<Correction> Watched(const TrialHistory& trial, TuningLimits limits = {},
                                  double bound = 0.91) {
  return Tuner().Watch({.target = {.bound = bound}, .limits = limits, .trials = {trial}}, trial);
}

const std::vector<double> kFlatLow = {.50, .55, .56, .562, .563};

TEST(Watch, EndsATrialThatCannotReachItsTarget) {
  const auto stop = Watched(Running(ScheduleKind::kConstant, 10, kFlatLow, kFlatLow));
  ASSERT_TRUE(stop && stop->stop);
  EXPECT_EQ(stop->tweak.move, "stop early");
  EXPECT_THAT(stop->tweak.reason, HasSubstr("after 5 of 10 epochs at 0.5630"));
  EXPECT_FALSE(stop->tweak.finding.text.empty());
}

TEST(Watch, LeavesTheLastTrialThatIsAllowedToItsEnd) {
  const TrialHistory trial = Running(ScheduleKind::kConstant, 10, kFlatLow, kFlatLow);
  EXPECT_FALSE(Watched(trial, {.max_trials = 1}));
  EXPECT_TRUE(Watched(trial, {.max_trials = 2}));
}

TEST(Watch, LeavesTrialsAloneWhereNothingMayChangeInFlight) {
  EXPECT_FALSE(
      Watched(Running(ScheduleKind::kConstant, 10, kFlatLow, kFlatLow), {.in_flight = false}));
}

TEST(Watch, LeavesAScheduleThatAnnealsTimeForWhatComesAtItsEnd) {
  const std::vector<double> flat = {.80, .83, .84, .842, .843};
  EXPECT_TRUE(Watched(Running(ScheduleKind::kConstant, 10, flat, flat)));
  EXPECT_FALSE(Watched(Running(ScheduleKind::kOneCycle, 10, flat, flat)));
  EXPECT_FALSE(Watched(Running(ScheduleKind::kCosine, 10, flat, flat)));
  // Even half of the error would be too much.
  EXPECT_TRUE(Watched(Running(ScheduleKind::kOneCycle, 10, flat, flat), {}, 0.95));
}

TEST(Watch, JudgesNoTrialBeforeItHasShownWhatItDoes) {
  EXPECT_FALSE(Watched(Running(ScheduleKind::kConstant, 10, {.5, .5}, {.5, .5})));
  EXPECT_FALSE(Watched(Running(ScheduleKind::kConstant, 20, kFlatLow, kFlatLow)));
}

TEST(Watch, EndsATrialThatLearnsByHeart) {
  TrialHistory trial = Running(ScheduleKind::kConstant, 12, {.85, .90, .94, .97, .98, .99},
                               {.86, .89, .88, .875, .87, .87});
  const double losses[] = {.40, .33, .35, .38, .41, .45};
  for (size_t i = 0; i < 6; ++i) trial.epochs[i].val_loss = losses[i];
  const auto stop = Watched(trial);
  ASSERT_TRUE(stop && stop->stop);
  EXPECT_THAT(stop->tweak.reason, HasSubstr("risen for 4 epochs"));
  EXPECT_EQ(stop->tweak.finding.kind, FindingKind::kOverfit);
}

TEST(Watch, LowersTheRateOnAPlateauOfAScheduleThatStaysHigh) {
  const std::vector<double> train = {.80, .88, .90, .905, .91, .912};
  const std::vector<double> val = {.80, .87, .90, .900, .8995, .90};
  const auto drop = Watched(Running(ScheduleKind::kConstant, 12, train, val));
  ASSERT_TRUE(drop);
  EXPECT_FALSE(drop->stop);
  EXPECT_NEAR(drop->configuration.training.optimizer.learning_rate, 0.01, 1e-12);
  EXPECT_EQ(drop->tweak.move, "lower rate");
  ASSERT_EQ(drop->tweak.changes.size(), 1);
  EXPECT_EQ(drop->tweak.changes[0], (Change{"train.lr", "0.05", "0.01"}));
  EXPECT_FALSE(Watched(Running(ScheduleKind::kOneCycle, 12, train, val)));
  EXPECT_FALSE(Watched(Running(ScheduleKind::kConstant, 7, train, val)));  // too late to matter
  TrialHistory adjusted = Running(ScheduleKind::kConstant, 12, train, val);
  adjusted.adjustments = 2;
  EXPECT_FALSE(Watched(adjusted));
  adjusted.adjustments = 1;
  adjusted.epochs.back().learning_rate = 0.01;  // has just come down
  EXPECT_FALSE(Watched(adjusted));
}

TEST(Watch, SlowsATrialDownWhoseLossJumps) {
  TrialHistory trial = Running(ScheduleKind::kOneCycle, 10, {.80, .85, .70}, {.8, .85, .7});
  const auto calm = Watched(trial);
  ASSERT_TRUE(calm);
  EXPECT_NEAR(calm->configuration.training.optimizer.learning_rate, 0.015, 1e-12);
  EXPECT_EQ(calm->configuration.training.optimizer.clip_norm, 1);
  EXPECT_THAT(calm->tweak.reason, HasSubstr("0.150 to 0.300"));
}

TEST(Watch, OnlyEverEndsAProgram) {
  TrialHistory trial = Program(kFlatLow, kFlatLow, {.epochs = 10});
  trial.result = TrialResult::kRunning;
  EXPECT_TRUE(Watched(trial, {}, 0.95)->stop);
  TrialHistory jumps = Program({.80, .85, .70}, {.8, .85, .7}, {.epochs = 10});
  jumps.result = TrialResult::kRunning;
  EXPECT_FALSE(Watched(jumps));
}

TEST(Rescue, GoesOnWithAThirdOfTheRateAndClips) {
  TrialHistory trial = Running(ScheduleKind::kCosine, 10, {.80, .85}, {.8, .85});
  const TuningTask task{.target = kTarget, .trials = {trial}};
  const auto rescue = Tuner().Rescue(task, trial);
  ASSERT_TRUE(rescue);
  EXPECT_FALSE(rescue->stop);
  EXPECT_NEAR(rescue->configuration.training.optimizer.learning_rate, 0.05 / 3, 1e-12);
  EXPECT_EQ(rescue->configuration.training.optimizer.clip_norm, 1);
  EXPECT_EQ(rescue->tweak.finding.kind, FindingKind::kDiverged);
  trial.rewinds = 2;
  EXPECT_FALSE(Tuner().Rescue(task, trial));
  EXPECT_FALSE(Tuner().Rescue(task, Program({.8}, {.8})));
  trial.rewinds = 0;
  EXPECT_FALSE(Tuner().Rescue(
      {.target = kTarget, .limits = {.in_flight = false}, .trials = {trial}}, trial));
}

// Whatever a curve does: the same again gives the same, and what is changed can change in flight.
TEST(Watch, ChangesOnlyWhatARunningTrialCanTake) {
  int corrections = 0;
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    sim::Random random(seed);
    std::vector<double> train, val;
    for (int64_t epoch = random.Between(1, 12); epoch > 0; --epoch) {
      train.push_back(random.Chance(5) ? NAN : static_cast<double>(random.Between(20, 99)) / 100);
      val.push_back(random.Chance(5) ? NAN : static_cast<double>(random.Between(20, 90)) / 100);
    }
    TrialHistory trial = Running(static_cast<ScheduleKind>(random.Between(0, 3)), 14, train, val);
    trial.adjustments = static_cast<int>(random.Between(0, 3));
    for (const auto& correction :
         {Watched(trial), Tuner().Rescue({.target = kTarget, .trials = {trial}}, trial)}) {
      if (!correction) continue;
      ++corrections;
      ASSERT_FALSE(correction->tweak.reason.empty());
      ASSERT_FALSE(correction->tweak.finding.text.empty());
      if (correction->stop) continue;
      ASSERT_EQ(network::BoundaryOf(trial.current, correction->configuration),
                network::Boundary::kStep);
      ASSERT_FALSE(correction->tweak.changes.empty());
      ASSERT_TRUE(network::CheckTraining(correction->configuration.training,
                                         correction->configuration.network)
                      .empty());
    }
    const auto again = Watched(trial);
    const auto once = Watched(trial);
    ASSERT_EQ(again.has_value(), once.has_value());
    if (again) {
      ASSERT_EQ(again->tweak, once->tweak);
    }
  }
  EXPECT_GT(corrections, 100);
}

}  // namespace
}  // namespace trainyard::core
