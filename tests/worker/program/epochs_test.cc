// Which epochs go to the coordinator, when, and as what.
#include "worker/program/epochs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trainyard::program {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

class EpochsTest : public testing::Test {
 protected:
  std::vector<EpochLine> Add(int epoch, double val_accuracy = kUnsaid, int64_t step = 0) {
    std::vector<EpochLine> rows;
    verdict_ = epochs_.Add({.epoch = epoch, .step = step, .val_accuracy = val_accuracy}, &rows);
    return rows;
  }

  Epochs epochs_{v1::Target::VAL_ACCURACY};
  Epochs::Verdict verdict_ = Epochs::Verdict::kTaken;
};

TEST_F(EpochsTest, AnEpochWithAValueGoesAtOnceAndOneWithoutWaitsForTheNext) {
  EXPECT_THAT(Add(1, 0.5), SizeIs(1));
  EXPECT_THAT(Add(2), IsEmpty());
  const auto rows = Add(3, 0.7);
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[0].epoch, 2);
  EXPECT_TRUE(std::isnan(rows[0].val_accuracy));
  EXPECT_EQ(rows[1].val_accuracy, 0.7);
  EXPECT_THAT(epochs_.End(), IsEmpty());
}

TEST_F(EpochsTest, TheLastEpochTakesTheJudgementOfTheBestSource) {
  Add(1);
  epochs_.Judge({.accuracy = 0.9}, Source::kSaid);
  epochs_.Judge({.accuracy = 0.1}, Source::kPrinted);
  const auto rows = epochs_.End();
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_EQ(rows[0].val_accuracy, 0.9);
}

TEST_F(EpochsTest, AJudgementWithoutAnyEpochIsEpochOne) {
  epochs_.Judge({.accuracy = 0.8}, Source::kFile);
  const auto rows = epochs_.End();
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_EQ(rows[0].epoch, 1);
  EXPECT_EQ(rows[0].val_accuracy, 0.8);
  EXPECT_GT(rows[0].step, 0);
}

TEST_F(EpochsTest, AProgramThatEndedBeforeItsEndWasHeardMakesNoNewEpoch) {
  epochs_.Continue(4, 40, std::nullopt);
  epochs_.Judge({.accuracy = 0.8}, Source::kFile);
  EXPECT_THAT(epochs_.End(), IsEmpty());
}

TEST_F(EpochsTest, EpochsThatRepeatOrJumpLeaveNoGap) {
  Add(1, 0.5);
  EXPECT_THAT(Add(1, 0.6), IsEmpty());
  EXPECT_EQ(verdict_, Epochs::Verdict::kRepeated);
  const auto rows = Add(4, 0.7);
  ASSERT_THAT(rows, SizeIs(3));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(rows[i].epoch, i + 2);
  EXPECT_LT(rows[0].step, rows[1].step);
  EXPECT_LT(rows[1].step, rows[2].step);
  EXPECT_THAT(Add(1'000'000, 0.9), IsEmpty());
  EXPECT_EQ(verdict_, Epochs::Verdict::kBeyond);
  EXPECT_EQ(epochs_.done(), 4);
}

TEST_F(EpochsTest, StepsGrowWithEachEpochWhateverTheProgramCounts) {
  EXPECT_EQ(Add(1, 0.1, 430)[0].step, 430);
  EXPECT_EQ(Add(2, 0.2, 860)[0].step, 860);
  EXPECT_EQ(Add(3, 0.3, 860)[0].step, 861) << "no step is said twice";
  EXPECT_EQ(Add(4, 0.4)[0].step, 862);
}

TEST_F(EpochsTest, AContinuedProgramMayCountItsStepsOnOrAnew) {
  epochs_.Continue(2, 860, std::nullopt);
  EXPECT_EQ(Add(3, 0.3, 430)[0].step, 860 + 430);
  Epochs on(v1::Target::VAL_ACCURACY);
  on.Continue(2, 860, std::nullopt);
  std::vector<EpochLine> rows;
  on.Add({.epoch = 3, .step = 1290, .val_accuracy = 0.3}, &rows);
  EXPECT_EQ(rows[0].step, 1290);
}

TEST_F(EpochsTest, WhatAStoppedAttemptHeldBackGoesOnWaiting) {
  epochs_.Continue(2, 30, EpochLine{.epoch = 3, .step = 29});
  epochs_.Judge({.accuracy = 0.6}, Source::kSaid);
  const auto rows = epochs_.End();
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_EQ(rows[0].epoch, 3);
  EXPECT_GT(rows[0].step, 30) << "beyond the checkpoint that it came in";
}

}  // namespace
}  // namespace trainyard::program
