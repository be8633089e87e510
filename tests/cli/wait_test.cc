// `wait`: exit codes, reports, and what a second call does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "cli/exit_code.h"
#include "tests/cli/scripted_server.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

class WaitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    server.jobs[7] = SampleJob();
    report = fs::temp_directory_path() / ("trainyard-junit-" + std::to_string(getpid()) + ".xml");
  }
  void TearDown() override { fs::remove(report); }

  void End(v1::JobState state) {
    server.Update([&] { server.jobs[7] = FinishedJob(state); });
    for (const v1::Event& event : SampleEvents(state)) server.Tell(event);
  }
  std::string Report() {
    std::ifstream in(report);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }

  ScriptedServer server;
  fs::path report;
};

TEST_F(WaitTest, TheExitCodeSaysHowTheJobEnded) {
  const std::pair<v1::JobState, int> expected[] = {{v1::JOB_STATE_SUCCEEDED, kDone},
                                                   {v1::JOB_STATE_BELOW_TARGET, kBelowTarget},
                                                   {v1::JOB_STATE_FAILED, kJobFailed},
                                                   {v1::JOB_STATE_CANCELLED, kJobCancelled}};
  for (const auto& [state, code] : expected) {
    server.jobs[7] = FinishedJob(state);
    for (int again = 0; again < 2; ++again) {
      const Outcome outcome = RunCli(server, {"wait", "7"});
      EXPECT_EQ(outcome.code, code) << outcome.err;
      EXPECT_THAT(outcome.out, HasSubstr("said by the coordinator"));
    }
  }
}

TEST_F(WaitTest, AJobThatEndsMeanwhileEndsTheWaiting) {
  std::thread ending([&] {
    server.AwaitWatchers(1);
    End(v1::JOB_STATE_BELOW_TARGET);
  });
  const Outcome outcome = RunCli(server, {"wait", "7", "--output", "json"});
  ending.join();
  EXPECT_EQ(outcome.code, kBelowTarget) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\"state\": \"JOB_STATE_BELOW_TARGET\""));
}

TEST_F(WaitTest, SurvivesARestartOfTheCoordinator) {
  std::thread restarting([&] {
    server.AwaitWatchers(1);
    server.Stop();
    server.Start();
    End(v1::JOB_STATE_SUCCEEDED);
  });
  const Outcome outcome = RunCli(server, {"wait", "7"});
  restarting.join();
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("trying again"));
}

TEST_F(WaitTest, GivesUpOnACoordinatorThatStaysAway) {
  std::thread stopping([&] {
    server.AwaitWatchers(1);
    server.Stop();
  });
  const Outcome outcome = RunCli(server, {"wait", "7", "--reconnect", "1ms", "--junit", report});
  stopping.join();
  EXPECT_EQ(outcome.code, kUnreachable);
  EXPECT_THAT(Report(), AllOf(HasSubstr("errors=\"1\""), HasSubstr("no coordinator answers at")));
}

TEST_F(WaitTest, ATimeoutLeavesTheJobAndIsReported) {
  const Outcome outcome = RunCli(server, {"wait", "7", "--timeout", "20ms", "--junit", report});
  EXPECT_EQ(outcome.code, kTimeout);
  EXPECT_THAT(outcome.err, HasSubstr("job 7 has not ended after 20ms; it goes on"));
  EXPECT_THAT(Report(),
              AllOf(HasSubstr("errors=\"1\""), HasSubstr("trial 2"), HasSubstr("timeout: job 7")));
  EXPECT_THAT(server.calls, ::testing::Not(::testing::Contains("CancelJob")));
}

TEST_F(WaitTest, ForTrialEndsWithTheTrialThatRunsNow) {
  server.Tell(MakeEvent("trial_ended", "trial 1 is over", 1));  // long ago
  std::thread ending([&] {
    server.AwaitWatchers(1);
    server.Tell(MakeEvent("trial_ended", "trial 2 is over", 2));
  });
  const Outcome outcome = RunCli(server, {"wait", "7", "--for", "trial", "--timeout", "60s"});
  ending.join();
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
}

TEST_F(WaitTest, ForTrialReturnsAtOnceWhenTheJobWaits) {
  server.jobs[7].set_state(v1::JOB_STATE_WAITING);
  EXPECT_EQ(RunCli(server, {"wait", "7", "--for", "trial"}).code, kDone);
  EXPECT_TRUE(server.watches.empty());
}

TEST_F(WaitTest, TheReportOfASuccessHasNoFailure) {
  server.jobs[7] = FinishedJob(v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(RunCli(server, {"wait", "7", "--junit", report}).code, kDone);
  EXPECT_EQ(Report(),
            R"(<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="trainyard.fashion" tests="3" failures="0" errors="0" skipped="0" time="133.000">
  <testcase classname="trainyard.fashion" name="trial 1" time="41.000">
    <system-out>completed after 2 epochs, 1 restarts, best 0.8712</system-out>
  </testcase>
  <testcase classname="trainyard.fashion" name="trial 2" time="92.000">
    <system-out>completed after 1 epochs, 0 restarts, best 0.9123; )"
            R"(network.layers[0].conv.filters 8 -&gt; 16; )"
            R"(train accuracy 0.8790 and validation accuracy 0.8712 are both low</system-out>
  </testcase>
  <testcase classname="trainyard.fashion" name="target val_accuracy &gt;= 0.91" time="0.000">
    <system-out>val_accuracy 0.9123, test accuracy 0.9088 on 10000 images</system-out>
  </testcase>
</testsuite>
)");
}

TEST_F(WaitTest, TheReportOfAMissedTargetHasOneFailureAndOfAFailedJobOneError) {
  server.jobs[7] = FinishedJob(v1::JOB_STATE_BELOW_TARGET);
  server.jobs[7].set_reason("missed by 0.01 <&> \"so\"\x01\x1b[2J");
  EXPECT_EQ(RunCli(server, {"wait", "7", "--junit", report}).code, kBelowTarget);
  EXPECT_THAT(Report(),
              AllOf(HasSubstr("failures=\"1\" errors=\"0\""),
                    HasSubstr("<failure message=\"missed by 0.01 &lt;&amp;&gt; &quot;so&quot;\"")));
  server.jobs[7] = FinishedJob(v1::JOB_STATE_FAILED);
  EXPECT_EQ(RunCli(server, {"wait", "7", "--junit", report}).code, kJobFailed);
  EXPECT_THAT(Report(), HasSubstr("failures=\"0\" errors=\"1\""));
}

TEST_F(WaitTest, AReportThatCannotBeWrittenIsToldBeforeWaiting) {
  const Outcome outcome = RunCli(server, {"wait", "7", "--junit", "/no/such/folder/report.xml"});
  EXPECT_EQ(outcome.code, kUsage);
  EXPECT_THAT(outcome.err, HasSubstr("--junit: /no/such/folder/report.xml: cannot be written"));
  EXPECT_TRUE(server.calls.empty());
}

TEST_F(WaitTest, AnUnknownJobIsReportedToo) {
  EXPECT_EQ(RunCli(server, {"wait", "8", "--junit", report}).code, kUsage);
  EXPECT_THAT(Report(), AllOf(HasSubstr("tests=\"1\""), HasSubstr("message=\"no job 8\"")));
}

}  // namespace
}  // namespace trainyard::cli
