// Each limit of a trial is named by its signs, with the numbers that say so.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "coordinator/core/tuner/confusion.h"
#include "tests/coordinator/core/trials.h"
#include "tests/sim/random.h"

namespace trainyard::core {
namespace {

using testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Finding Diagnosed(const TrialHistory& trial) { return Tuner().Diagnose(trial, kTarget); }
FindingKind Kind(const TrialHistory& trial) { return Diagnosed(trial).kind; }

// With these training losses and steady accuracies below the target.
TrialHistory WithLosses(const std::vector<double>& losses) {
  TrialHistory trial =
      Trial(std::vector(losses.size(), 0.5), std::vector<double>(losses.size(), 0.5));
  for (size_t i = 0; i < losses.size(); ++i) trial.epochs[i].train_loss = losses[i];
  return trial;
}

// Ten classes of `images` each, of which `wrong` are taken for other classes as `to` says.
template <typename To>
std::vector<int64_t> Errors(int64_t images, int64_t wrong, To to) {
  std::vector<int64_t> matrix(100);
  for (size_t truth = 0; truth < 10; ++truth) {
    matrix[truth * 10 + truth] = images - wrong;
    for (int64_t i = 0; i < wrong; ++i) ++matrix[truth * 10 + to(truth, i)];
  }
  return matrix;
}

TEST(Diagnose, UnderfitWhenTrainingItselfHeadsBelowTheTarget) {
  const Finding finding = Diagnosed(Trial({.78, .85, .87}, {.80, .85, .87}));
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
  TrialHistory trial = Trial({.86, .895, .908}, {.900, .902, .902});
  trial.current.training.schedule.kind = network::ScheduleKind::kConstant;
  EXPECT_EQ(Kind(trial), FindingKind::kPlateau);
}

TEST(Diagnose, UnderfitWhenTheRateHasFallenToNothingAndTrainingIsBelowTheTarget) {
  // The same curves, but what they gained last came of annealing.
  EXPECT_EQ(Kind(Trial({.86, .895, .908}, {.900, .902, .902})), FindingKind::kUnderfit);
}

TEST(Diagnose, DivergedAndOutOfMemoryAreWhatTheTrialSaid) {
  TrialHistory trial = Trial({.5}, {.5});
  trial.result = TrialResult::kDiverged;
  EXPECT_EQ(Kind(trial), FindingKind::kDiverged);
  trial.result = TrialResult::kOutOfMemory;
  EXPECT_EQ(Kind(trial), FindingKind::kOutOfMemory);
}

TEST(Diagnose, RateTooHighWhenTheLossNeverLeavesThatOfAGuess) {
  TrialHistory trial = WithLosses({2.55, 2.39, 2.31, 2.305});
  trial.current.training.optimizer.learning_rate = 1;
  trial.epochs.back().dead_units = 1;
  trial.confusion = Errors(100, 90, [](size_t truth, int64_t) { return truth == 3 ? 4 : 3; });
  const Finding finding = Diagnosed(trial);
  EXPECT_EQ(finding.kind, FindingKind::kRateTooHigh);
  EXPECT_THAT(finding.text, HasSubstr("a guess has 2.303, and 100% of the units are dead"));
  EXPECT_NEAR(finding.evidence.at("loss_of_a_guess"), std::log(10), 1e-9);
}

TEST(Diagnose, RateTooHighWhenTheLossJumps) {
  const Finding finding = Diagnosed(WithLosses({0.9, 0.5, 0.7, 0.4, 0.6}));
  EXPECT_EQ(finding.kind, FindingKind::kRateTooHigh);
  EXPECT_EQ(finding.evidence.at("loss_jumps"), 2);
}

TEST(Diagnose, RateTooHighWhenAStepTurnsTheWeightsOver) {
  TrialHistory trial = Trial({.78, .85, .87}, {.80, .85, .87});
  trial.epochs[0].update_ratio = 0.08;  // the last one is small: the schedule has ended
  trial.epochs[2].update_ratio = 1e-5;
  const Finding finding = Diagnosed(trial);
  EXPECT_EQ(finding.kind, FindingKind::kRateTooHigh);
  EXPECT_NEAR(finding.evidence.at("update_ratio"), 0.08, 1e-12);
}

TEST(Diagnose, RateTooLowWhenTheLossFallsHardlyAtAll) {
  const Finding finding = Diagnosed(WithLosses({2.2, 2.1, 2.05, 2.0}));
  EXPECT_EQ(finding.kind, FindingKind::kRateTooLow);
  EXPECT_THAT(finding.text, HasSubstr("from 2.200 to 2.000 only"));
}

TEST(Diagnose, RateTooLowWhenStepsAreTiny) {
  TrialHistory trial = Trial({.60, .65, .70}, {.60, .65, .70});
  for (Metrics& metrics : trial.epochs) metrics.update_ratio = 5e-5;
  EXPECT_EQ(Kind(trial), FindingKind::kRateTooLow);
}

TEST(Diagnose, RateTooLowWhenItIsFarBelowWhatTheOptimizerUsuallyTakes) {
  TrialHistory trial = Trial({.78, .85, .87}, {.80, .85, .87});
  trial.current.training.optimizer.learning_rate = 0.005;
  const Finding finding = Diagnosed(trial);
  EXPECT_EQ(finding.kind, FindingKind::kRateTooLow);
  EXPECT_THAT(finding.text, HasSubstr("0.005 where 0.1 is usual"));
  trial.inherited = true;  // lower on purpose
  EXPECT_EQ(Kind(trial), FindingKind::kUnderfit);
}

TEST(Diagnose, LabelNoiseWhenAnyClassIsTakenForAnyOther) {
  TrialHistory trial = Trial({.70, .74, .75}, {.72, .74, .75});
  trial.confusion =
      Errors(500, 126, [](size_t truth, int64_t i) { return (truth + 1 + i % 9) % 10; });
  const Finding finding = Diagnosed(trial);
  EXPECT_EQ(finding.kind, FindingKind::kLabelNoise);
  EXPECT_NEAR(finding.evidence.at("error_spread"), 1, 1e-9);
  // Errors between look-alikes are none.
  trial.confusion =
      Errors(500, 126, [](size_t truth, int64_t i) { return (truth + 1 + i % 3) % 10; });
  EXPECT_EQ(Kind(trial), FindingKind::kUnderfit);
}

TEST(Diagnose, LabelNoiseWhenTrainingLabelsAreFittedWorseThanTheOthers) {
  EXPECT_EQ(Kind(Trial({.66, .70, .71}, {.80, .84, .85})), FindingKind::kLabelNoise);
  TrialHistory augmented = Trial({.66, .70, .71}, {.80, .84, .85});
  augmented.current.training.augmentation.shift = 2;  // which makes training the harder task
  EXPECT_EQ(Kind(augmented), FindingKind::kUnderfit);
}

TEST(Diagnose, LabelNoiseWhenNothingIsLearnedAtAUsualRate) {
  EXPECT_EQ(Kind(WithLosses({2.64, 2.304, 2.303})), FindingKind::kLabelNoise);
  // A network that never stopped to tell classes apart is not broken by its rate either.
  TrialHistory trial = WithLosses({2.35, 2.31, 2.305});
  trial.current.training.optimizer.learning_rate = 0.5;
  EXPECT_EQ(Kind(trial), FindingKind::kRateTooHigh);
  for (size_t i = 0; i < 100; ++i) trial.confusion.push_back(i % 10 < 6 ? 16 : 1);
  EXPECT_EQ(Kind(trial), FindingKind::kLabelNoise);
}

TEST(Diagnose, ImbalanceNamesTheClassesThatAreSeldomSeen) {
  TrialHistory trial = Trial({.88, .89, .89}, {.86, .87, .87});
  trial.confusion = Errors(500, 10, [](size_t truth, int64_t) { return truth == 0 ? 1 : 0; });
  for (const size_t rare : {7, 9}) {  // taken for class 0, nearly always
    for (size_t given = 0; given < 10; ++given) trial.confusion[rare * 10 + given] = 0;
    trial.confusion[rare * 10] = 90;
    trial.confusion[rare * 10 + rare] = 10;
  }
  const Finding finding = Diagnosed(trial);
  EXPECT_EQ(finding.kind, FindingKind::kImbalance);
  EXPECT_THAT(finding.text, HasSubstr("classes 7, 9"));
  EXPECT_GT(finding.evidence.at("neglected_errors"), 0.6);
}

TEST(Diagnose, WithinNoiseWhenFewerImagesAreMissingThanChanceMoves) {
  const TrialHistory trial = Trial({.890, .905, .908}, {.890, .905, .908});
  Target target = kTarget;
  EXPECT_NE(Tuner().Diagnose(trial, target).kind, FindingKind::kWithinNoise);  // images unknown
  target.images = 5000;
  const Finding finding = Tuner().Diagnose(trial, target);
  EXPECT_EQ(finding.kind, FindingKind::kWithinNoise);
  EXPECT_THAT(finding.text, HasSubstr("10.0 of 5000 images are missing"));
  EXPECT_NEAR(finding.evidence.at("standard_error"), std::sqrt(.908 * .092 / 5000), 1e-12);
  target.images = 500'000;
  EXPECT_NE(Tuner().Diagnose(trial, target).kind, FindingKind::kWithinNoise);
}

TEST(Diagnose, WithinNoiseCountsTheImagesOfTheConfusionMatrixWhereNobodySaid) {
  TrialHistory trial = Trial({.890, .905, .908}, {.890, .905, .908});
  trial.confusion = {454, 46, 46, 454};
  EXPECT_EQ(Kind(trial), FindingKind::kWithinNoise);
}

TEST(Diagnose, WithinNoiseWhenTheTargetIsFinerThanOneImage) {
  const TrialHistory trial = Trial({1, 1, 1}, {.97, .98, .98});
  const Finding finding = Tuner().Diagnose(trial, {.bound = 0.999, .images = 50});
  EXPECT_EQ(finding.kind, FindingKind::kWithinNoise);
}

TEST(Diagnose, WithinNoiseWhenTheTargetIsReachedButNotSurely) {
  const TrialHistory trial = Trial({.90, .91, .92}, {.90, .91, .92});
  const Finding finding =
      Tuner().Diagnose(trial, {.bound = 0.91, .confidence = 0.95, .images = 1000});
  EXPECT_EQ(finding.kind, FindingKind::kWithinNoise);
  EXPECT_THAT(finding.text, HasSubstr("4.9 of 1000 images are missing to be 95% sure"));
}

TEST(Diagnose, LossTargetsAreReadTheOtherWayRound) {
  TrialHistory trial = Trial({.8, .8}, {.8, .8});
  for (Metrics& metrics : trial.epochs) metrics.train_loss = metrics.val_loss = 0.5;
  const Finding finding = Tuner().Diagnose(trial, {.metric = TargetMetric::kValLoss, .bound = 0.3});
  EXPECT_EQ(finding.kind, FindingKind::kUnderfit);
  EXPECT_NEAR(finding.evidence.at("distance"), 0.2, 1e-9);
}

TEST(Diagnose, AHaltedTrialIsJudgedByItsRowsAndAFailedOneNotAtAll) {
  TrialHistory trial = Trial({.78, .85, .87}, {.80, .85, .87});
  trial.result = TrialResult::kHalted;
  EXPECT_EQ(Kind(trial), FindingKind::kUnderfit);
  trial.epochs.clear();
  trial.result = TrialResult::kFailed;
  EXPECT_EQ(Kind(trial), FindingKind::kNone);
}

// Numbers may be missing, senseless, or one; a finding has a text and finite evidence then too.
TEST(Diagnose, AnyNumbersGiveAFindingWithFiniteEvidence) {
  const double odd[] = {kNan, 0, 1, -1, INFINITY, 1e300, 0.5, 0.9, 2.3};
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    sim::Random random(seed);
    const auto any = [&] { return odd[static_cast<size_t>(random.Between(0, 8))]; };
    TrialHistory trial = random.Chance(50) ? Trial({}, {}) : Program({}, {});
    for (int64_t epoch = random.Between(0, 4); epoch > 0; --epoch) {
      trial.epochs.push_back({any(), any(), any(), any(), any(), any(), any(), any()});
    }
    trial.inherited = random.Chance(30);
    for (int64_t cell = random.Between(0, 9); cell > 0; --cell) {
      trial.confusion.push_back(random.Between(-1, 20));
    }
    const Target target{
        .metric = random.Chance(50) ? TargetMetric::kValAccuracy : TargetMetric::kValLoss,
        .bound = 0.9,
        .confidence = random.Chance(50) ? 0.95 : 0,
        .images = random.Between(0, 2)};
    const Finding finding = Tuner().Diagnose(trial, target);
    ASSERT_FALSE(finding.text.empty()) << "seed " << seed;
    for (const auto& [name, value] : finding.evidence) {
      ASSERT_TRUE(std::isfinite(value)) << "seed " << seed << ", " << name;
    }
  }
}

TEST(ReadConfusion, WhatIsNoMatrixHasNoClasses) {
  EXPECT_EQ(ReadConfusion({}).classes, 0);
  EXPECT_EQ(ReadConfusion({1, 2, 3}).classes, 0);
  EXPECT_EQ(ReadConfusion({1, -2, 3, 4}).classes, 0);
  EXPECT_EQ(ReadConfusion({0, 0, 0, 0}).classes, 0);
  EXPECT_EQ(ReadConfusion({5}).classes, 0);
}

}  // namespace
}  // namespace trainyard::core
