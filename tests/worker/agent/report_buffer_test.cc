// What waits for an acknowledgement, and what is forgotten.
#include "worker/agent/report_buffer.h"

#include <gtest/gtest.h>

#include "tests/worker/agent/agent_fixture.h"

namespace trainyard::agent {
namespace {

v1::WorkerMessage Checkpoint(int64_t attempt, int64_t step, bool end_of_epoch) {
  v1::WorkerMessage message;
  *message.mutable_checkpoint()->mutable_attempt() = Ref(attempt);
  message.mutable_checkpoint()->set_step(step);
  message.mutable_checkpoint()->set_end_of_epoch(end_of_epoch);
  return message;
}

TEST(ReportBufferTest, SequenceNumbersGrowWhateverIsForgotten) {
  ReportBuffer buffer;
  EXPECT_EQ(buffer.Add(EpochOf(1, 1)), 1);
  EXPECT_EQ(buffer.Add(EpochOf(1, 2)), 2);
  buffer.Acknowledge(2);
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.Add(EpochOf(1, 3)), 3);
  buffer.Drop(Ref(1));
  EXPECT_EQ(buffer.Add(EpochOf(2, 1)), 4);
}

TEST(ReportBufferTest, AnAcknowledgementCoversWhatStandsBeforeItAndNothingBehind) {
  ReportBuffer buffer;
  for (int epoch = 1; epoch <= 4; ++epoch) buffer.Add(EpochOf(1, epoch));
  buffer.Acknowledge(3);
  buffer.Acknowledge(3);
  buffer.Acknowledge(1);
  ASSERT_EQ(buffer.size(), 1u);
  EXPECT_EQ(buffer.After(0)->sequence(), 4);
  EXPECT_EQ(buffer.After(4), nullptr);
}

TEST(ReportBufferTest, ANewerCheckpointReplacesOlderOnesInMidEpochOfItsAttemptAlone) {
  ReportBuffer buffer;
  buffer.Add(Checkpoint(1, 10, false));  // replaced
  buffer.Add(Checkpoint(1, 20, true));   // may be the best epoch's
  buffer.Add(EpochOf(1, 2));
  buffer.Add(Checkpoint(2, 10, false));  // another attempt's
  buffer.Add(Checkpoint(1, 30, false));
  EXPECT_EQ(buffer.size(), 4u);
  EXPECT_EQ(buffer.After(0)->sequence(), 2);
  EXPECT_EQ(buffer.After(4)->checkpoint().step(), 30);
}

TEST(ReportBufferTest, DropForgetsOneAttemptOnly) {
  ReportBuffer buffer;
  buffer.Add(EpochOf(1, 1));
  buffer.Add(EpochOf(2, 1));
  buffer.Drop(Ref(1));
  ASSERT_EQ(buffer.size(), 1u);
  EXPECT_EQ(buffer.After(0)->epoch().attempt().attempt(), 2);
}

}  // namespace
}  // namespace trainyard::agent
