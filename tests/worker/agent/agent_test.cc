// The session and the agent's decisions, over real gRPC, with attempts that the test plays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/agent/agent_fixture.h"
#include "worker/agent/ending.h"

namespace trainyard::agent {
namespace {

using Record = FakeGateway::Record;

class AgentTest : public testing::Test {
 protected:
  void ReportEpoch(int64_t attempt, int epoch) {
    runner_.Play([=](Uplink& uplink, AttemptControl& control) {
      uplink.Report(EpochOf(attempt, epoch), control);
      return std::optional<v1::AttemptEnded>();
    });
  }

  void Begin(int64_t attempt) {
    const int runs = runner_.runs();
    gateway_.SendStart(StartOf(attempt));
    runner_.WaitForRuns(runs + 1);
  }

  FakeGateway gateway_;
  PlayedRunner runner_;
};

std::vector<int64_t> Sequences(const Record& record) {
  std::vector<int64_t> sequences;
  for (const v1::WorkerMessage& report : record.reports) sequences.push_back(report.sequence());
  return sequences;
}

TEST_F(AgentTest, RegistersThenSaysHelloThenRenewsWithStepAndPhase) {
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  runner_.Play([](Uplink&, AttemptControl& control) {
    control.set_step(17);
    control.set_phase(v1::PHASE_TRAINING);
    return std::optional<v1::AttemptEnded>();
  });
  const Record record = gateway_.WaitFor("a renewal at step 17", [](const Record& r) {
    return !r.renewals.empty() && r.renewals.back().step() == 17;
  });
  ASSERT_EQ(record.registered.size(), 1u);
  EXPECT_EQ(record.registered[0].incarnation(), "incarnation");
  ASSERT_EQ(record.hellos.size(), 1u);
  EXPECT_EQ(record.hellos[0].worker(), 1);
  EXPECT_FALSE(record.hellos[0].has_running());
  EXPECT_EQ(record.renewals.back().phase(), v1::PHASE_TRAINING);
  EXPECT_EQ(record.renewals.back().attempt().fencing(), 101);
  runner_.End(v1::AttemptEnded::COMPLETED);
  gateway_.WaitFor("the end", [](const Record& r) { return r.ended() != nullptr; });
}

TEST_F(AgentTest, RenewalsTellTheUseOfItsGpu) {
  RunningAgent agent(gateway_.address(), runner_, [](AgentOptions& options) {
    options.session.gpu_use = [] {
      v1::GpuUse use;
      use.set_busy_percent(87);
      return std::optional(use);
    };
  });
  const Record record =
      gateway_.WaitFor("a renewal", [](const Record& r) { return !r.renewals.empty(); });
  EXPECT_EQ(record.renewals.back().gpu_use().busy_percent(), 87);
}

TEST_F(AgentTest, WithoutItsDeviceItReportsLeavesAndTakesNothingMore) {
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  gateway_.Set([](auto& b) { b.acknowledge = false; });
  runner_.Play([](Uplink&, AttemptControl& control) {
    control.set_device_lost();
    return std::optional<v1::AttemptEnded>();
  });
  runner_.End(v1::AttemptEnded::DEVICE_LOST);
  const Record lost =
      gateway_.WaitFor("the end", [](const Record& r) { return r.ended() != nullptr; });
  gateway_.SendStart(StartOf(2));
  gateway_.SendAck(lost.reports.back().sequence());
  EXPECT_EQ(agent.Wait(), kExitDeviceLost);
  EXPECT_EQ(runner_.runs(), 1);
  EXPECT_THAT(gateway_.record().goodbyes,
              testing::ElementsAre("its process can use its GPU no more"));
}

TEST_F(AgentTest, ResendsAfterACutOffWhatWasNotAcknowledgedAndNothingElse) {
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  ReportEpoch(1, 1);
  gateway_.WaitFor("epoch 1", [](const Record& r) { return r.epochs().size() == 1; });
  gateway_.Set([](auto& b) { b.acknowledge = false; });
  ReportEpoch(1, 2);
  ReportEpoch(1, 3);
  gateway_.WaitFor("epochs 2 and 3", [](const Record& r) { return r.epochs().size() == 3; });
  gateway_.Cut();
  const Record record =
      gateway_.WaitFor("both once more", [](const Record& r) { return r.reports.size() == 5; });
  EXPECT_THAT(Sequences(record), testing::ElementsAre(1, 2, 3, 2, 3));
  ASSERT_EQ(record.hellos.size(), 2u);
  EXPECT_EQ(record.hellos[1].worker(), 1);
  EXPECT_EQ(record.hellos[1].running().attempt(), 1);
  EXPECT_EQ(record.registered.size(), 1u);

  // Acknowledged twice, and an old one again: the next cut-off finds nothing to resend.
  for (const int64_t sequence : {3, 3, 1}) gateway_.SendAck(sequence);
  gateway_.Set([](auto& b) { b.acknowledge = true; });
  ReportEpoch(1, 4);
  gateway_.WaitFor("epoch 4", [](const Record& r) { return r.epochs().size() == 4; });
  gateway_.Cut();
  ReportEpoch(1, 5);
  const Record after =
      gateway_.WaitFor("epoch 5", [](const Record& r) { return r.epochs().size() == 5; });
  EXPECT_THAT(Sequences(after), testing::Contains(3).Times(2));
  runner_.End(v1::AttemptEnded::COMPLETED);
}

TEST_F(AgentTest, AnAdjustmentReachesTheAttemptItNamesAndTheAnswerIsSentUntilAcknowledged) {
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  gateway_.Set([](auto& b) { b.acknowledge = false; });
  const auto adjust = [&](int64_t attempt, int number) {
    v1::Adjustment adjustment;
    adjustment.set_number(number);
    gateway_.SendAdjust(Ref(attempt), adjustment);
  };
  adjust(2, 7);  // somebody else's
  adjust(1, 1);
  adjust(1, 1);  // sent again, for there was no answer
  adjust(1, 2);
  runner_.Play([](Uplink& uplink, AttemptControl& control) {
    std::vector<int> numbers;
    while (numbers.empty() || numbers.back() != 2) {
      for (const v1::Adjustment& taken : control.TakeAdjustments()) {
        numbers.push_back(taken.number());
      }
    }
    EXPECT_THAT(numbers, testing::Not(testing::Contains(7)));
    EXPECT_THAT(numbers, testing::Contains(1));
    uplink.Report(AdjustReportOf(Ref(1), 2, true, 40), control);
    return std::optional<v1::AttemptEnded>();
  });
  gateway_.WaitFor("the answer", [](const Record& r) { return r.reports.size() == 1; });
  gateway_.Cut();
  const Record record =
      gateway_.WaitFor("it once more", [](const Record& r) { return r.reports.size() == 2; });
  EXPECT_THAT(Sequences(record), testing::ElementsAre(1, 1));
  EXPECT_EQ(record.adjusted()[0].number(), 2);
  EXPECT_TRUE(record.adjusted()[0].taken());
  EXPECT_EQ(record.adjusted()[0].step(), 40);
  gateway_.Set([](auto& b) { b.acknowledge = true; });
  gateway_.SendAck(1);
  runner_.End(v1::AttemptEnded::COMPLETED);
}

TEST_F(AgentTest, TrainsOnWhileTheCoordinatorIsDownAndComesBackWithTheSameWorker) {
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  gateway_.GoDown();
  for (int epoch = 1; epoch <= 3; ++epoch) ReportEpoch(1, epoch);  // returns: nothing waits
  gateway_.ComeUp();
  const Record record =
      gateway_.WaitFor("three epochs", [](const Record& r) { return r.epochs().size() == 3; });
  EXPECT_EQ(record.registered.size(), 1u);
  EXPECT_EQ(record.hellos.back().running().attempt(), 1);
  EXPECT_EQ(runner_.runs(), 1);
  runner_.End(v1::AttemptEnded::COMPLETED);
}

TEST_F(AgentTest, RegistersAgainWithTheSameIncarnationWhenForgottenAndKeepsItsAttempt) {
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  gateway_.Set([](auto& b) { b.forget = 1; });
  gateway_.Cut();
  ReportEpoch(1, 1);
  const Record record =
      gateway_.WaitFor("epoch 1", [](const Record& r) { return r.epochs().size() == 1; });
  ASSERT_EQ(record.registered.size(), 2u);
  EXPECT_EQ(record.registered[1].incarnation(), record.registered[0].incarnation());
  EXPECT_EQ(record.hellos.back().worker(), 2);
  EXPECT_EQ(record.hellos.back().running().attempt(), 1);
  runner_.End(v1::AttemptEnded::COMPLETED);
}

TEST_F(AgentTest, NamesTheAttemptInHelloUntilItsEndIsAcknowledged) {
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  gateway_.Set([](auto& b) { b.acknowledge = false; });
  runner_.End(v1::AttemptEnded::FAILED);
  gateway_.WaitFor("the end", [](const Record& r) { return r.ended() != nullptr; });
  gateway_.Cut();
  Record record =
      gateway_.WaitFor("the end again", [](const Record& r) { return r.reports.size() == 2; });
  EXPECT_EQ(record.hellos.back().running().attempt(), 1);
  // Sent again by a coordinator that had not heard of the end: not taken a second time.
  gateway_.SendStart(StartOf(1));
  gateway_.SendAck(record.reports.back().sequence());
  gateway_.WaitFor("an idle renewal", [](const Record& r) {
    return !r.renewals.empty() && !r.renewals.back().has_attempt();
  });
  EXPECT_EQ(runner_.runs(), 1);
}

TEST_F(AgentTest, IgnoresAnAssignmentThatItHoldsAlready) {
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  gateway_.SendStart(StartOf(1));
  ReportEpoch(1, 1);  // the attempt goes on undisturbed
  runner_.End(v1::AttemptEnded::COMPLETED);
  gateway_.WaitFor("the end", [](const Record& r) { return r.ended() != nullptr; });
  Begin(2);
  EXPECT_EQ(runner_.runs(), 2);
  runner_.End(v1::AttemptEnded::COMPLETED);
}

TEST_F(AgentTest, DropsASupersededAttemptAtOnceAndReportsNothingMoreOfIt) {
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  gateway_.Set([](auto& b) { b.acknowledge = false; });
  ReportEpoch(1, 1);
  gateway_.WaitFor("epoch 1", [](const Record& r) { return r.epochs().size() == 1; });
  gateway_.SendSuperseded(Ref(1));
  runner_.WaitForAbandoned(1);
  const size_t hellos = gateway_.record().hellos.size();
  gateway_.Cut();
  const Record record = gateway_.WaitFor("a new session", [&](const Record& r) {
    return r.hellos.size() > hellos && r.sessions_open;
  });
  EXPECT_FALSE(record.hellos.back().has_running());
  Begin(2);
  ReportEpoch(2, 1);
  const Record after = gateway_.WaitFor("epoch 1 of attempt 2",
                                        [](const Record& r) { return r.epochs().size() == 2; });
  EXPECT_EQ(after.reports.size(), 2u) << "the dropped report must not be sent again";
  EXPECT_EQ(after.ended(), nullptr);
  gateway_.Set([](auto& b) { b.acknowledge = true; });
  gateway_.SendAck(after.reports.back().sequence());
  runner_.End(v1::AttemptEnded::COMPLETED);
}

TEST_F(AgentTest, TakesTheNextAttemptWhileTheSupersededOneWindsDown) {
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  gateway_.SendSuperseded(Ref(1));
  Begin(2);
  runner_.WaitForAbandoned(1);
  gateway_.WaitFor("a renewal of attempt 2", [](const Record& r) {
    return !r.renewals.empty() && r.renewals.back().attempt().attempt() == 2;
  });
  runner_.End(v1::AttemptEnded::COMPLETED);
}

TEST_F(AgentTest, HandsAStopToTheAttemptAndReportsHowItEnded) {
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  gateway_.SendStop(Ref(99), true);  // of another attempt: nothing happens
  gateway_.SendStop(Ref(1), true);
  runner_.Play([](Uplink&, AttemptControl& control) {
    while (control.Sleep(std::chrono::seconds(1), Wish::kStop)) {
    }
    EXPECT_EQ(control.wish(), Wish::kStop);
    EXPECT_TRUE(control.stop()->checkpoint);
    EXPECT_TRUE(control.stop()->publish);
    v1::AttemptEnded ended;
    ended.set_outcome(v1::AttemptEnded::STOPPED);
    return std::optional(ended);
  });
  const Record record =
      gateway_.WaitFor("the end", [](const Record& r) { return r.ended() != nullptr; });
  EXPECT_EQ(record.ended()->outcome(), v1::AttemptEnded::STOPPED);
}

TEST_F(AgentTest, PublishingStopsWithTheLeaseAndGoesOnWithIt) {
  gateway_.Set([](auto& b) {
    b.lease_ms = 1;
    b.lease = false;
  });
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  runner_.Play([](Uplink& uplink, AttemptControl&) {
    while (uplink.WaitForLease(std::chrono::milliseconds(0))) {
    }  // the lease of 1 ms runs out, for no renewal is answered
    return std::optional<v1::AttemptEnded>();
  });
  gateway_.Set([](auto& b) {
    b.lease_ms = 60'000;
    b.lease = true;
  });
  runner_.Play([](Uplink& uplink, AttemptControl&) {
    EXPECT_TRUE(uplink.WaitForLease(std::chrono::seconds(60)));
    return std::optional<v1::AttemptEnded>();
  });
  runner_.End(v1::AttemptEnded::COMPLETED);
}

TEST_F(AgentTest, AFullBufferHoldsTheNextEpochUntilThereIsRoom) {
  RunningAgent agent(gateway_.address(), runner_,
                     [](AgentOptions& options) { options.session.reports_max = 2; });
  Begin(1);
  gateway_.Set([](auto& b) { b.acknowledge = false; });
  ReportEpoch(1, 1);
  ReportEpoch(1, 2);
  std::thread third([&] { ReportEpoch(1, 3); });
  gateway_.WaitFor("two epochs", [](const Record& r) { return r.epochs().size() == 2; });
  gateway_.SendAck(1);
  third.join();
  gateway_.WaitFor("the third", [](const Record& r) { return r.epochs().size() == 3; });
  gateway_.Set([](auto& b) { b.acknowledge = true; });
  gateway_.SendAck(3);
  runner_.End(v1::AttemptEnded::COMPLETED);
}

TEST_F(AgentTest, AnOrphanCheckpointsLocallyAndLeaves) {
  gateway_.Set([](auto& b) { b.orphan_limit_ms = 500; });
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  gateway_.GoDown();
  runner_.Play([](Uplink&, AttemptControl& control) {
    while (control.Sleep(std::chrono::seconds(1), Wish::kStop)) {
    }
    EXPECT_TRUE(control.stop()->checkpoint);
    EXPECT_FALSE(control.stop()->publish);
    v1::AttemptEnded ended;
    ended.set_outcome(v1::AttemptEnded::STOPPED);
    return std::optional(ended);
  });
  EXPECT_EQ(agent.Wait(), kExitUnreachable);
}

TEST_F(AgentTest, AWorkerThatNeverFindsACoordinatorLeavesAfterTheOrphanLimit) {
  gateway_.GoDown();
  RunningAgent agent(gateway_.address(), runner_, [](AgentOptions& options) {
    options.session.orphan_limit = std::chrono::milliseconds(300);
  });
  EXPECT_EQ(agent.Wait(), kExitUnreachable);
}

TEST_F(AgentTest, AWorkerThatIsNotLetInLeavesAtOnce) {
  for (const auto code : {grpc::StatusCode::UNAUTHENTICATED, grpc::StatusCode::PERMISSION_DENIED}) {
    gateway_.Set([&](auto& b) { b.door = {code, "the token was revoked"}; });
    RunningAgent agent(gateway_.address(), runner_);
    EXPECT_EQ(agent.Wait(), kExitRefused);
  }
}

TEST_F(AgentTest, AnIdleWorkerWhoseTokenDiedLeavesWhenItsSessionEnds) {
  RunningAgent agent(gateway_.address(), runner_);
  gateway_.WaitFor("a session", [](const Record& r) { return r.sessions_open == 1; });
  gateway_.Set([](auto& b) { b.door = {grpc::StatusCode::UNAUTHENTICATED, "revoked"}; });
  gateway_.Cut();
  EXPECT_EQ(agent.Wait(), kExitRefused);
}

TEST_F(AgentTest, AnAttemptInHandOutlastsTheTokenAndIsReportedIfItIsMended) {
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  gateway_.Set([](auto& b) { b.door = {grpc::StatusCode::UNAUTHENTICATED, "revoked"}; });
  const size_t before = gateway_.record().hellos.size();
  gateway_.Cut();
  ReportEpoch(1, 1);
  gateway_.WaitFor("knocking again and again",
                   [&](const Record& r) { return r.hellos.size() >= before + 3; });
  gateway_.Set([](auto& b) { b.door = grpc::Status::OK; });
  gateway_.WaitFor("epoch 1", [](const Record& r) { return r.epochs().size() == 1; });
  gateway_.Set([](auto& b) { b.door = {grpc::StatusCode::UNAUTHENTICATED, "revoked"}; });
  gateway_.Cut();
  runner_.End(v1::AttemptEnded::COMPLETED);
  EXPECT_EQ(agent.Wait(), kExitRefused) << "with nothing left to do";
}

TEST_F(AgentTest, OnASignalItStopsWithACheckpointSaysGoodbyeAndEndsWithTheSignalsCode) {
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  std::thread leaving([&] { EXPECT_EQ(agent.Leave(143), 143); });
  runner_.Play([](Uplink&, AttemptControl& control) {
    while (control.Sleep(std::chrono::seconds(1), Wish::kStop)) {
    }
    EXPECT_TRUE(control.stop()->checkpoint);
    v1::AttemptEnded ended;
    ended.set_outcome(v1::AttemptEnded::STOPPED);
    return std::optional(ended);
  });
  leaving.join();
  const Record record = gateway_.record();
  ASSERT_NE(record.ended(), nullptr);
  EXPECT_EQ(record.ended()->outcome(), v1::AttemptEnded::STOPPED);
  EXPECT_THAT(record.goodbyes, testing::ElementsAre("the test is over"));
}

TEST_F(AgentTest, AShutdownEndsItAtOnceWithoutReports) {
  RunningAgent agent(gateway_.address(), runner_);
  Begin(1);
  v1::CoordinatorMessage message;
  message.mutable_shutdown()->set_reason("enough");
  gateway_.Send(message);
  EXPECT_EQ(agent.Wait(), kExitDismissed);
  EXPECT_TRUE(gateway_.record().reports.empty());
  EXPECT_TRUE(gateway_.record().goodbyes.empty());
}

}  // namespace
}  // namespace trainyard::agent
