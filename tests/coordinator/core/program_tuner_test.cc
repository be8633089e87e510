// Where a program of the user's trains, the tuner changes it from outside, by what its curves say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "coordinator/core/tuner/policy.h"
#include "coordinator/core/tuner/program_moves.h"
#include "network/shapes.h"

namespace trainyard::core {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const Target kTarget{.metric = TargetMetric::kValAccuracy, .bound = 0.91};

TrialHistory Program(std::vector<double> train, std::vector<double> val,
                     network::ProgramChanges changes = {}) {
  TrialHistory trial{.number = 1};
  trial.configuration.changes = std::move(changes);
  for (size_t i = 0; i < val.size(); ++i) {
    trial.epochs.push_back({1 - train[i], train[i], 1 - val[i], val[i], 0.001});
  }
  return trial;
}

Advice Propose(const TrialHistory& trial, TuningLimits limits = {}) {
  return PolicyOf(Algorithm::kDiagnose).Propose({.target = kTarget, .limits = limits, .trials = {trial}});
}

TEST(ProgramTuner, WidensAProgramThatDoesNotEvenFitItsTrainingSet) {
  const Advice advice = Propose(Program({.78, .85, .87}, {.80, .85, .87}));
  ASSERT_TRUE(advice.configuration);
  EXPECT_EQ(advice.configuration->changes, network::ProgramChanges{.width = 2});
  ASSERT_EQ(advice.tweak.changes.size(), 1);
  EXPECT_EQ(advice.tweak.changes[0], (Change{"changes.width", "", "2"}));
  EXPECT_EQ(advice.finding.kind, FindingKind::kUnderfit);
}

TEST(ProgramTuner, TrainsLongerFromTheEpochsThatWereSeenWhereTheCurveStillRises) {
  const Advice advice = Propose(Program({.75, .82, .87}, {.75, .82, .87}));
  ASSERT_TRUE(advice.configuration);
  EXPECT_EQ(advice.configuration->changes, network::ProgramChanges{.epochs = 6});
}

TEST(ProgramTuner, DropsOutWhereTheGapIsLarge) {
  const Advice advice = Propose(Program({.90, .95, .99}, {.88, .89, .89}));
  ASSERT_TRUE(advice.configuration);
  EXPECT_EQ(advice.configuration->changes, network::ProgramChanges{.dropout = 0.3});
}

TEST(ProgramTuner, LowersTheRateThatWasReportedAfterADivergence) {
  TrialHistory trial = Program({.5}, {.5});
  trial.result = TrialResult::kDiverged;
  const Advice advice = Propose(trial);
  ASSERT_TRUE(advice.configuration);
  EXPECT_NEAR(advice.configuration->changes.learning_rate, 0.001 / 3, 1e-12);
  EXPECT_THAT(advice.finding.text, HasSubstr("0.001"));
  EXPECT_TRUE(advice.fresh);
}

TEST(ProgramTuner, HalvesTheBatchOfAProgramThatRanOutOfMemory) {
  TrialHistory trial = Program({}, {}, {.batch_size = 64});
  trial.result = TrialResult::kOutOfMemory;
  const Advice advice = Propose(trial);
  ASSERT_TRUE(advice.configuration);
  EXPECT_EQ(advice.configuration->changes.batch_size, 32);
}

TEST(ProgramTuner, LeavesTheModelOfAProgramAloneThatOnlyReadsNumbers) {
  const Advice advice = Propose(Program({.78, .85, .87}, {.80, .85, .87}), {.architecture = false});
  ASSERT_TRUE(advice.configuration);
  EXPECT_EQ(advice.configuration->changes, network::ProgramChanges{.epochs = 6});
}

TEST(ProgramTuner, AddsNoConvToAProgramWithout) {
  TuningTask task{.target = kTarget,
                  .limits = {.convolutions = false},
                  .trials = {Program({.78, .85, .87}, {.80, .85, .87})}};
  for (const Move& move : ProgramMoves(task.trials[0], {.kind = FindingKind::kUnderfit}, task)) {
    EXPECT_EQ(move.configuration.changes.added_convs, 0) << move.reason;
  }
}

// A program may tell of its training set nothing, and of the whole run one number.
TEST(ProgramTuner, JudgesAProgramThatTellsOnlyItsValidationAccuracy) {
  const Advice advice = Propose(Program({NAN}, {.84}));
  EXPECT_EQ(advice.finding.kind, FindingKind::kPlateau);
  EXPECT_THAT(advice.finding.text, HasSubstr("0.8400"));
  EXPECT_EQ(advice.finding.evidence.count("train"), 0);
  ASSERT_TRUE(advice.configuration);
  EXPECT_EQ(advice.configuration->changes, network::ProgramChanges{.width = 2});
}

TEST(ProgramTuner, AsksForNoRateThatItCannotRelateToWhatWas) {
  TrialHistory trial = Program({.78, .85, .87}, {.80, .85, .87});
  for (Metrics& metrics : trial.epochs) metrics.learning_rate = NAN;
  EXPECT_EQ(RateOf(trial), 0);
  for (const Move& move : ProgramMoves(trial, {}, {.target = kTarget, .trials = {trial}})) {
    EXPECT_EQ(move.configuration.changes.learning_rate, 0) << move.reason;
  }
}

// Whatever comes of it, each trial is new, sound and at last the ideas run dry.
TEST(ProgramTuner, NeverRepeatsItselfAndComesToAnEnd) {
  TuningTask task{.target = kTarget, .trials = {Program({.8, .8}, {.8, .8})}, .epochs_left = 40};
  for (int number = 2; number < 200; ++number) {
    const Advice advice = PolicyOf(Algorithm::kDiagnose).Propose(task);
    if (!advice.configuration) {
      EXPECT_FALSE(advice.stop.empty());
      EXPECT_GT(number, 5);
      return;
    }
    EXPECT_THAT(network::CheckChanges(advice.configuration->changes), IsEmpty());
    EXPECT_LE(advice.configuration->changes.epochs, 40);
    for (const TrialHistory& trial : task.trials) {
      EXPECT_NE(trial.configuration, *advice.configuration);
    }
    TrialHistory next = Program({.8, .8}, {.8, .8}, advice.configuration->changes);
    next.number = number;
    task.trials.push_back(std::move(next));
  }
  FAIL() << "the tuner goes on for ever";
}

}  // namespace
}  // namespace trainyard::core
