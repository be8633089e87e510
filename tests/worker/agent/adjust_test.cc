// Trials that are changed in mid-run, halted at a rung, or start from the weights of another: whole
// attempts behind a real agent.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/spec_convert.h"
#include "tests/worker/agent/native_fixture.h"
#include "worker/engine/checkpoint.h"

namespace trainyard::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class AdjustAttemptTest : public NativeFixture {
 protected:
  static v1::Adjustment RateAt(const v1::JobSpec& spec, int number, int64_t step, double rate) {
    v1::Adjustment adjustment;
    adjustment.set_number(number);
    adjustment.set_step(step);
    *adjustment.mutable_configuration() = spec.configuration();
    adjustment.mutable_configuration()->mutable_training()->mutable_optimizer()->set_learning_rate(
        rate);
    return adjustment;
  }

  // As a coordinator does: where it comes too late, again with a later step. As it was taken.
  v1::Adjustment AdjustUntilTaken(const v1::AttemptRef& attempt, v1::Adjustment adjustment) {
    for (int64_t ahead = 8;; ahead *= 2) {
      const size_t before = gateway_.record().adjusted().size();
      gateway_.SendAdjust(attempt, adjustment);
      const Record record = gateway_.WaitFor(
          "an answer", [&](const Record& r) { return r.adjusted().size() > before; });
      if (record.adjusted().size() <= before) return adjustment;  // the test has failed
      const v1::AdjustReport& answer = record.adjusted().back();
      EXPECT_EQ(answer.number(), adjustment.number());
      adjustment.set_step(answer.taken() ? answer.step() : answer.step() + ahead);
      if (answer.taken()) return adjustment;
      EXPECT_GT(answer.step(), 0);
    }
  }

  // Of the last checkpoint that came.
  engine::Checkpoint Last(const Record& record) {
    return engine::ParseCheckpoint(gateway_.blob(record.checkpoints().back().sha256()));
  }
};

TEST_F(AdjustAttemptTest, ChangesInMidRunComeOutAsIfTheListHadBeenInHandFromTheStart) {
  const v1::JobSpec spec = SmallJob(300);
  const v1::Start start = SmallStart(spec, snapshot_, 1);
  v1::Adjustment second = RateAt(spec, 2, 0, 0.002);
  second.set_at_epoch(true);
  second.mutable_configuration()->mutable_training()->set_epochs(301);
  std::vector<v1::Adjustment> taken;
  Record record;
  {
    const auto agent = Agent();
    gateway_.SendStart(start);
    taken.push_back(AdjustUntilTaken(start.attempt(), RateAt(spec, 1, 3, 0.005)));
    second.set_step(taken[0].step() + 1);
    taken.push_back(AdjustUntilTaken(start.attempt(), second));
    gateway_.SendAdjust(start.attempt(), taken[0]);  // a coordinator that had not heard
    record = WaitForEnd(1);
  }
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  EXPECT_EQ(record.ended()->message(), "all 301 epochs are done");
  EXPECT_EQ(taken[1].step() % kStepsPerEpoch, 0) << "at the end of an epoch";
  EXPECT_THAT(record.ended()->adjusted_at(), ElementsAre(taken[0].step(), taken[1].step()));
  EXPECT_THAT(record.epochs(), SizeIs(301));
  EXPECT_TRUE(gateway_.blob(record.checkpoints().back().sha256()) ==
              UndisturbedResult(spec, taken));
  // No checkpoint is told before the answers that it was trained with.
  std::vector<int64_t> answered;
  for (const v1::WorkerMessage& report : record.reports) {
    if (report.has_adjusted() && report.adjusted().taken() &&
        report.adjusted().number() > static_cast<int>(answered.size())) {
      answered.push_back(report.adjusted().step());
    }
    if (!report.has_checkpoint()) continue;
    const auto& adjusted_at = report.checkpoint().adjusted_at();
    ASSERT_LE(adjusted_at.size(), static_cast<int>(answered.size()));
    for (int i = 0; i < adjusted_at.size(); ++i) {
      EXPECT_EQ(adjusted_at[i], answered[i]);
      EXPECT_LT(adjusted_at[i], report.checkpoint().step());
    }
  }
  EXPECT_THAT(record.checkpoints().back().adjusted_at(), SizeIs(2));
  EXPECT_TRUE(record.checkpoints().back().final());
}

TEST_F(AdjustAttemptTest, AnotherAttemptRepeatsTheListAndRefusesACheckpointMadeWithAnother) {
  const v1::JobSpec spec = SmallJob(4);
  const v1::Adjustment adjustment = RateAt(spec, 1, 7, 0.1);
  v1::Start start = SmallStart(spec, snapshot_, 1);
  *start.add_adjustments() = adjustment;
  start.set_until_epoch(2);
  const Record first = RunToEnd(start);
  EXPECT_EQ(first.ended()->message(), "halted after epoch 2");
  const v1::CheckpointReport at_rung = first.checkpoints().back();
  EXPECT_THAT(at_rung.adjusted_at(), ElementsAre(7));
  EXPECT_TRUE(at_rung.final());
  EXPECT_EQ(at_rung.epoch(), 2);

  v1::Start promoted = SmallStart(spec, snapshot_, 2);
  *promoted.add_adjustments() = adjustment;
  promoted.set_checkpoint_sha256(at_rung.sha256());
  const Record record = RunToEnd(promoted);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  EXPECT_EQ(record.epochs().size(), 4u);
  EXPECT_TRUE(gateway_.blob(record.checkpoints().back().sha256()) ==
              UndisturbedResult(spec, {adjustment}));

  v1::Start other = SmallStart(spec, snapshot_, 3);
  other.set_checkpoint_sha256(at_rung.sha256());
  const Record refused = RunToEnd(other);
  EXPECT_EQ(refused.ended()->outcome(), AttemptEnded::CHECKPOINT_BROKEN);
  EXPECT_THAT(refused.ended()->message(), HasSubstr("adjustments: found at step 7"));
}

TEST_F(AdjustAttemptTest, AnEarlyStopCompletesTheTrialWithWhatIsWhole) {
  v1::Start start = SmallStart(SmallJob(4), snapshot_, 1);
  v1::Adjustment& stop = *start.add_adjustments();
  stop.set_number(1);
  stop.set_step(kStepsPerEpoch + 2);
  stop.set_stop(true);
  const Record record = RunToEnd(start);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED);
  EXPECT_EQ(record.ended()->message(), "stopped early at step 7");
  EXPECT_EQ(record.ended()->step(), 7);
  EXPECT_THAT(record.ended()->adjusted_at(), ElementsAre(7));
  EXPECT_THAT(record.epochs(), SizeIs(1));
  for (const v1::CheckpointReport& checkpoint : record.checkpoints()) {
    EXPECT_EQ(checkpoint.epoch(), 1);
    EXPECT_THAT(checkpoint.adjusted_at(), IsEmpty());
  }
}

TEST_F(AdjustAttemptTest, AChangeThatCannotBeLeavesARunAloneAndIsNamedByTheNextAttempt) {
  v1::JobSpec spec = SmallJob(100);
  v1::Adjustment bad = RateAt(spec, 1, 400, -1);
  v1::Start start = SmallStart(spec, snapshot_, 1);
  {
    const auto agent = Agent();
    gateway_.SendStart(start);
    gateway_.SendAdjust(start.attempt(), bad);
    const Record record = WaitForEnd(1);
    EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
    EXPECT_THAT(record.adjusted(), IsEmpty());
    EXPECT_THAT(record.ended()->adjusted_at(), IsEmpty());
  }
  start = SmallStart(spec, snapshot_, 2);
  *start.add_adjustments() = bad;
  const Record record = RunToEnd(start);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::FAILED_FINALLY);
  EXPECT_THAT(record.ended()->message(), HasSubstr("adjustment 1: train.lr"));
}

TEST_F(AdjustAttemptTest, AChildStartsFromItsParentsWeightsAndRepeatsThatInEveryAttempt) {
  const Record parent = RunToEnd(SmallStart(SmallJob(2), snapshot_, 1));
  const std::string sha256 = parent.checkpoints().back().sha256();
  const network::Network network = FromProto(SmallJob(2).configuration()).network;
  v1::JobSpec spec = SmallJob(1);
  v1::Training& training = *spec.mutable_configuration()->mutable_training();
  training.set_seed(77);
  training.mutable_optimizer()->set_learning_rate(1e-30);  // too little to move a weight
  const auto child = [&](int64_t attempt) {
    v1::Start start = SmallStart(spec, snapshot_, attempt);
    start.set_trial_number(2);
    start.set_inherit_sha256(sha256);
    *start.mutable_inherit_network() = ToProto(network);
    return start;
  };
  const Record same = RunToEnd(child(2));
  EXPECT_EQ(same.ended()->outcome(), AttemptEnded::COMPLETED) << same.ended()->message();
  EXPECT_EQ(Last(same).state.parameters, Last(parent).state.parameters);
  EXPECT_EQ(Last(same).epoch, 1) << "counted anew";

  // Grown: what it starts with is the same each time, and not what a fresh start has.
  v1::Conv& conv =
      *spec.mutable_configuration()->mutable_network()->mutable_layers(0)->mutable_conv();
  conv.set_filters(6);
  const engine::Checkpoint grown = Last(RunToEnd(child(3)));
  EXPECT_EQ(Last(RunToEnd(child(4))).state.parameters, grown.state.parameters);
  EXPECT_NE(Last(RunToEnd(SmallStart(spec, snapshot_, 5))).state.parameters,
            grown.state.parameters);

  // Weights of another network than is said are of no use.
  v1::Start wrong = child(6);
  wrong.mutable_inherit_network()->mutable_layers(0)->mutable_conv()->set_filters(5);
  const Record fresh = RunToEnd(wrong);
  EXPECT_EQ(fresh.ended()->outcome(), AttemptEnded::COMPLETED) << fresh.ended()->message();
  EXPECT_EQ(Last(fresh).state.parameters,
            Last(RunToEnd(SmallStart(spec, snapshot_, 7))).state.parameters);

  v1::Start torn = child(8);
  torn.set_inherit_sha256(gateway_.Store("not safetensors at all"));
  const Record broken = RunToEnd(torn);
  EXPECT_EQ(broken.ended()->outcome(), AttemptEnded::CHECKPOINT_BROKEN);
  EXPECT_THAT(broken.ended()->message(), HasSubstr(torn.inherit_sha256()));
}

}  // namespace
}  // namespace trainyard::agent
