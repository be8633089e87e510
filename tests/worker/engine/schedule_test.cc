// The learning rate follows its formulas, and depends on nothing but the step.
#include "worker/engine/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace trainyard::engine {
namespace {

using network::Schedule;
using network::ScheduleKind;

constexpr int64_t kStepsPerEpoch = 10;
constexpr int kEpochs = 20;
constexpr double kPeak = 0.4;

double Rate(const Schedule& schedule, int64_t step) {
  return LearningRate(schedule, kPeak, step, kStepsPerEpoch, kEpochs);
}

Schedule Of(ScheduleKind kind) {
  Schedule schedule;
  schedule.kind = kind;
  return schedule;
}

TEST(Schedule, ConstantStaysConstant) {
  for (int64_t step : {0, 1, 99, 199}) EXPECT_EQ(Rate(Of(ScheduleKind::kConstant), step), kPeak);
}

TEST(Schedule, StepFallsWithTheFirstStepOfAnEpoch) {
  Schedule schedule = Of(ScheduleKind::kStep);
  schedule.step_epochs = 5;
  schedule.step_factor = 0.5;
  EXPECT_DOUBLE_EQ(Rate(schedule, 0), kPeak);
  EXPECT_DOUBLE_EQ(Rate(schedule, 49), kPeak);
  EXPECT_DOUBLE_EQ(Rate(schedule, 50), kPeak / 2);
  EXPECT_DOUBLE_EQ(Rate(schedule, 99), kPeak / 2);
  EXPECT_DOUBLE_EQ(Rate(schedule, 100), kPeak / 4);
  EXPECT_DOUBLE_EQ(Rate(schedule, 199), kPeak / 8);
}

TEST(Schedule, CosineIsHalfACosineFromPeakToFinal) {
  Schedule schedule = Of(ScheduleKind::kCosine);
  schedule.final_factor = 0.1;
  for (int64_t step = 0; step < 200; ++step) {
    const double part = (static_cast<double>(step) + 0.5) / 200;
    const double expected = kPeak * (0.1 + 0.9 * (1 + std::cos(std::numbers::pi * part)) / 2);
    EXPECT_NEAR(Rate(schedule, step), expected, 1e-12) << step;
  }
}

TEST(Schedule, OneCycleRisesToThePeakAndFallsToTheFinalRateInStraightLines) {
  Schedule schedule = Of(ScheduleKind::kOneCycle);
  schedule.peak_at = 0.25;
  schedule.final_factor = 0.1;
  for (int64_t step = 0; step < 200; ++step) {
    const double at = static_cast<double>(step) + 0.5;
    const double expected = at < 50 ? kPeak * at / 50 : kPeak * (1 - 0.9 * (at - 50) / 150);
    EXPECT_NEAR(Rate(schedule, step), expected, 1e-12) << step;
  }
}

TEST(Schedule, WarmUpRisesInAStraightLineThenTheScheduleTakesOver) {
  Schedule schedule = Of(ScheduleKind::kCosine);
  schedule.warmup_epochs = 2;
  for (int64_t step = 0; step < 20; ++step) {
    EXPECT_NEAR(Rate(schedule, step), kPeak * (static_cast<double>(step) + 0.5) / 20, 1e-12);
  }
  const double part = 0.5 / 180;
  EXPECT_NEAR(Rate(schedule, 20), kPeak * (1 + std::cos(std::numbers::pi * part)) / 2, 1e-12);
}

TEST(Schedule, NoStepIsWastedOnARateOfZero) {
  for (ScheduleKind kind : {ScheduleKind::kConstant, ScheduleKind::kStep, ScheduleKind::kCosine,
                            ScheduleKind::kOneCycle}) {
    Schedule schedule = Of(kind);
    if (kind != ScheduleKind::kOneCycle) schedule.warmup_epochs = 3;
    for (int64_t step = 0; step < 200; ++step) {
      EXPECT_GT(Rate(schedule, step), 0) << step;
      EXPECT_LE(Rate(schedule, step), kPeak) << step;
    }
  }
}

TEST(Schedule, WarmUpThroughAllEpochsIsFinite) {
  Schedule schedule = Of(ScheduleKind::kCosine);
  schedule.warmup_epochs = kEpochs;
  for (int64_t step = 0; step < 200; ++step) EXPECT_TRUE(std::isfinite(Rate(schedule, step)));
}

}  // namespace
}  // namespace trainyard::engine
