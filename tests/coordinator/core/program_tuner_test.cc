// Where a program of the user's trains, the tuner changes it from outside, by what its curves say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "coordinator/core/tuner/program_moves.h"
#include "coordinator/core/tuner/rates.h"
#include "network/shapes.h"
#include "tests/coordinator/core/trials.h"

namespace trainyard::core {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

Advice Propose(const TrialHistory& trial, TuningLimits limits = {}) {
  return Tuner().Propose({.target = kTarget, .limits = limits, .trials = {trial}, .last = 1}, 1);
}

TEST(ProgramTuner, WidensAProgramThatDoesNotEvenFitItsTrainingSet) {
  const Advice advice = Propose(Program({.78, .85, .87}, {.80, .85, .87}));
  ASSERT_EQ(advice.next.size(), 1);
  EXPECT_EQ(advice.next[0].configuration.changes, network::ProgramChanges{.width = 2});
  ASSERT_EQ(advice.next[0].tweak.changes.size(), 1);
  EXPECT_EQ(advice.next[0].tweak.changes[0], (Change{"changes.width", "", "2"}));
  EXPECT_EQ(advice.finding.kind, FindingKind::kUnderfit);
}

TEST(ProgramTuner, TrainsLongerFromTheEpochsThatWereSeenWhereTheCurveStillRises) {
  const Advice advice = Propose(Program({.75, .82, .87}, {.75, .82, .87}));
  ASSERT_EQ(advice.next.size(), 1);
  EXPECT_EQ(advice.next[0].configuration.changes, network::ProgramChanges{.epochs = 6});
}

TEST(ProgramTuner, DropsOutWhereTheGapIsLarge) {
  const Advice advice = Propose(Program({.90, .95, .99}, {.88, .89, .89}));
  ASSERT_EQ(advice.next.size(), 1);
  EXPECT_EQ(advice.next[0].configuration.changes, network::ProgramChanges{.dropout = 0.3});
}

TEST(ProgramTuner, LowersTheRateThatWasReportedAfterADivergence) {
  TrialHistory trial = Program({.5}, {.5});
  trial.result = TrialResult::kDiverged;
  const Advice advice = Propose(trial);
  ASSERT_EQ(advice.next.size(), 1);
  EXPECT_NEAR(advice.next[0].configuration.changes.learning_rate, 0.001 / 3, 1e-12);
  EXPECT_THAT(advice.finding.text, HasSubstr("0.001"));
  EXPECT_FALSE(advice.next[0].inherit);
}

TEST(ProgramTuner, HalvesTheBatchOfAProgramThatRanOutOfMemory) {
  TrialHistory trial = Program({}, {}, {.batch_size = 64});
  trial.result = TrialResult::kOutOfMemory;
  const Advice advice = Propose(trial);
  ASSERT_EQ(advice.next.size(), 1);
  EXPECT_EQ(advice.next[0].configuration.changes.batch_size, 32);
}

TEST(ProgramTuner, LeavesTheModelOfAProgramAloneThatOnlyReadsNumbers) {
  const Advice advice = Propose(Program({.78, .85, .87}, {.80, .85, .87}), {.architecture = false});
  ASSERT_EQ(advice.next.size(), 1);
  EXPECT_EQ(advice.next[0].configuration.changes, network::ProgramChanges{.epochs = 6});
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
  ASSERT_EQ(advice.next.size(), 1);
  EXPECT_EQ(advice.next[0].configuration.changes, network::ProgramChanges{.width = 2});
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
  TuningTask task{
      .target = kTarget, .trials = {Program({.8, .8}, {.8, .8})}, .last = 1, .epochs_left = 40};
  for (int number = 2; number < 200; ++number) {
    const Advice advice = Tuner().Propose(task, 1);
    if (advice.next.empty()) {
      EXPECT_FALSE(advice.stop.empty());
      EXPECT_GT(number, 5);
      return;
    }
    const network::Configuration& next = advice.next[0].configuration;
    EXPECT_THAT(network::CheckChanges(next.changes), IsEmpty());
    EXPECT_LE(next.changes.epochs, 40);
    for (const TrialHistory& trial : task.trials) EXPECT_NE(trial.configuration, next);
    Follow(task, advice.next[0], Program({.8, .8}, {.8, .8}));
  }
  FAIL() << "the tuner goes on for ever";
}

}  // namespace
}  // namespace trainyard::core
