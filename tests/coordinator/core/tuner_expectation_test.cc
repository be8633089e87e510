// What came of earlier trials of a job decides which kinds of moves come first.
#include <gtest/gtest.h>

#include "coordinator/core/tuner/expectation.h"
#include "tests/coordinator/core/trials.h"

namespace trainyard::core {
namespace {

// A trial on trial 1 by this move, expected to gain 0.02, that came to this.
TrialHistory Outcome(const char* move, double best, double learning_rate) {
  TrialHistory trial = Trial({best, best, best}, {best, best, best});
  trial.configuration.training.optimizer.learning_rate = learning_rate;  // makes it another one
  trial.current = trial.configuration;
  trial.base = 1;
  trial.move = move;
  trial.expected_gain = 0.02;
  return trial;
}

TEST(Experience, FollowsWhatCameOfWhatWasExpected) {
  const Experience experience(
      TaskWith({Trial({.8}, {.80}), Outcome(kWiden, .82, 1), Outcome(kDeepen, .80, 2),
                Outcome(kDeepen, .80, 3), Outcome(kAugment, .86, 4), Outcome(kRelax, .70, 5)}));
  EXPECT_NEAR(experience.Factor(kWiden), 1, 1e-9);      // as expected
  EXPECT_NEAR(experience.Factor(kDeepen), 0.25, 1e-9);  // failed twice
  EXPECT_NEAR(experience.Factor(kAugment), 1.5, 1e-9);  // paid three times as much
  EXPECT_NEAR(experience.Factor(kRelax), 0.25, 1e-9);   // lost
  EXPECT_EQ(experience.Factor(kAnneal), 1);
}

TEST(Experience, WhatRunsOrFailedForOtherReasonsTeachesNothingAndWhatBrokeDoes) {
  TrialHistory running = Outcome(kWiden, .5, 1);
  running.result = TrialResult::kRunning;
  TrialHistory failed = Outcome(kDeepen, .5, 2);
  failed.result = TrialResult::kFailed;
  TrialHistory diverged = Outcome(kRaiseRate, .9, 3);
  diverged.result = TrialResult::kDiverged;
  const Experience experience(TaskWith({Trial({.8}, {.8}), running, failed, diverged}));
  EXPECT_EQ(experience.Factor(kWiden), 1);
  EXPECT_EQ(experience.Factor(kDeepen), 1);
  EXPECT_NEAR(experience.Factor(kRaiseRate), 0.25, 1e-9);
}

TEST(Experience, AMoveThatFailedTwiceComesBehindOneThatPaid) {
  const TrialHistory first = Trial(kUnderfit, kUnderfit);
  EXPECT_EQ(Next(TaskWith({first})).tweak.move, kGrow);
  const TuningTask taught = TaskWith({first, Outcome(kGrow, .85, 1), Outcome(kGrow, .86, 2)});
  const NextTrial next = Next(taught);
  EXPECT_EQ(next.tweak.move, kWiden);
  EXPECT_EQ(next.base, 1);
  const TuningTask wide = TaskWith({first, Outcome(kGrow, .85, 1), Outcome(kGrow, .86, 2),
                                    Outcome(kWiden, .85, 3), Outcome(kWiden, .85, 4)});
  EXPECT_NE(Next(wide).tweak.move, kGrow);
  EXPECT_NE(Next(wide).tweak.move, kWiden);
  const TuningTask both =
      TaskWith({first, Outcome(kGrow, .85, 1), Outcome(kGrow, .85, 2), Outcome(kWiden, .85, 3),
                Outcome(kWiden, .85, 4), Outcome(kResidual, .90, 5)});
  EXPECT_EQ(Next(both).tweak.move, kResidual);
}

TEST(Experience, WhatIsExpectedIsScaledByIt) {
  const TrialHistory first = Trial(kUnderfit, kUnderfit);
  const double before = Next(TaskWith({first})).tweak.expected_gain;
  const double after = Next(TaskWith({first, Outcome(kGrow, .86, 1)})).tweak.expected_gain;
  EXPECT_LT(after, before);
}

// ---- What is known beforehand ----

TEST(PriorShare, IsAShareOfTheErrorForEveryFindingAndMove) {
  for (int kind = 0; kind <= static_cast<int>(FindingKind::kSearch); ++kind) {
    for (const char* move : {kGrow, kWiden, kBatchNorm, kDeepen, kResidual, kLargerKernels,
                             kAddUnits, kRelax, kTrainLonger, kRaiseRate, kLowerRate, kAnneal,
                             kAugment, kRegularise, kSmoothLabels, kSmallerBatch}) {
      const double share = PriorShare(static_cast<FindingKind>(kind), move);
      EXPECT_GE(share, 0) << move;
      EXPECT_LE(share, 1) << move;
    }
  }
  EXPECT_EQ(PriorShare(FindingKind::kRateTooHigh, kRaiseRate), 0);
  EXPECT_EQ(PriorShare(FindingKind::kRateTooLow, kLowerRate), 0);
  EXPECT_EQ(PriorShare(FindingKind::kUnderfit, "no such move"), 0);
  EXPECT_NEAR(WidthShare(16), 0.5, 1e-12);
  EXPECT_EQ(WidthShare(1), 0);
}

}  // namespace
}  // namespace trainyard::core
