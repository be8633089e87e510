// `watch`: what comes, once and in order, whatever happens to the connection.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "cli/exit_code.h"
#include "tests/cli/scripted_server.h"

namespace trainyard::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class FollowTest : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    server.jobs[7] = SampleJob();
  }
  void TellAll(v1::JobState end) {
    for (const v1::Event& event : SampleEvents(end)) server.Tell(event);
    server.Update([&] { server.jobs[7] = FinishedJob(end); });
  }
  // What an undisturbed watch of the whole job prints.
  static std::string Undisturbed(const std::vector<std::string>& arguments) {
    ScriptedServer calm;
    calm.jobs[7] = FinishedJob(v1::JOB_STATE_SUCCEEDED);
    for (const v1::Event& event : SampleEvents(v1::JOB_STATE_SUCCEEDED)) calm.Tell(event);
    return RunCli(calm, arguments).out;
  }

  ScriptedServer server;
};

TEST_F(FollowTest, PrintsTheWholeJobAndEndsWithItsTable) {
  TellAll(v1::JOB_STATE_SUCCEEDED);
  const Outcome outcome = RunCli(server, {"watch", "7"});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("12:00:01  job "), HasSubstr("restart       attempt 2"),
                                 HasSubstr("TRIAL  STATE"), HasSubstr("test accuracy 0.9088")));
  EXPECT_EQ(outcome.err, "");
}

TEST_F(FollowTest, TheExitCodeIsTheJobs) {
  TellAll(v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(RunCli(server, {"watch", "7"}).code, kJobCancelled);
}

TEST_F(FollowTest, JsonIsOneObjectALineAndNothingElse) {
  TellAll(v1::JOB_STATE_SUCCEEDED);
  const Outcome outcome = RunCli(server, {"watch", "7", "--output", "json"});
  EXPECT_EQ(outcome.code, kDone);
  std::istringstream lines(outcome.out);
  size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    EXPECT_EQ(line.front(), '{');
    EXPECT_EQ(line.back(), '}');
    EXPECT_THAT(line, HasSubstr("\"cursor\":\"" + std::to_string(count + 1) + "\""));
  }
  EXPECT_EQ(count, SampleEvents(v1::JOB_STATE_SUCCEEDED).size());
}

TEST_F(FollowTest, GoesOnAfterACutFromItsLastCursor) {
  server.cut_watch_after = 4;
  TellAll(v1::JOB_STATE_SUCCEEDED);
  const Outcome outcome = RunCli(server, {"watch", "7"});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_EQ(outcome.out, Undisturbed({"watch", "7"}));
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("trying again"), HasSubstr("connected again")));
  ASSERT_EQ(server.watches.size(), 2u);
  EXPECT_EQ(server.watches[1].after_cursor(), 4);
}

TEST_F(FollowTest, SurvivesACoordinatorThatIsStoppedAndStartedAgain) {
  const auto events = SampleEvents(v1::JOB_STATE_SUCCEEDED);
  server.Tell(events[0]);
  server.Tell(events[1]);
  std::thread restarting([&] {
    server.AwaitWatchers(1);
    server.Stop();
    server.Start();
    for (size_t i = 2; i < events.size(); ++i) server.Tell(events[i]);
    server.Update([&] { server.jobs[7] = FinishedJob(v1::JOB_STATE_SUCCEEDED); });
  });
  const Outcome outcome = RunCli(server, {"watch", "7"});
  restarting.join();
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_EQ(outcome.out, Undisturbed({"watch", "7"}));
}

TEST_F(FollowTest, GoesOnWhenItWasTooSlow) {
  server.slow_watchers = true;
  TellAll(v1::JOB_STATE_SUCCEEDED);
  const Outcome outcome = RunCli(server, {"watch", "7"});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_EQ(outcome.out, Undisturbed({"watch", "7"}));
}

TEST_F(FollowTest, AnEventBeyondAllMeasureIsRefusedInsteadOfTriedForEver) {
  server.Tell(MakeEvent("note", "before"));
  server.Tell(MakeEvent("note", std::string(20 << 20, 'x')));
  const Outcome outcome = RunCli(server, {"watch", "7"});
  EXPECT_EQ(outcome.code, kUnexpected);
  EXPECT_THAT(outcome.out, HasSubstr("before"));
  EXPECT_THAT(outcome.err, HasSubstr("larger than max"));
}

TEST_F(FollowTest, GivesUpAfterTheTimeForReconnecting) {
  server.Tell(MakeEvent("note", "before"));
  std::thread stopping([&] {
    server.AwaitWatchers(1);
    server.Stop();
  });
  const Outcome outcome = RunCli(server, {"watch", "--reconnect", "1ms"});
  stopping.join();
  EXPECT_EQ(outcome.code, kUnreachable);
  EXPECT_THAT(outcome.err, HasSubstr("trainyard up"));
}

TEST_F(FollowTest, AJobThatVanishedEndsTheWatch) {
  server.cut_watch_after = 1;
  server.Tell(MakeEvent("note", "before"));
  server.fail_first["WatchEvents"] = 0;
  std::thread forgetting([&] {
    server.AwaitWatchers(1);
    server.Update([&] {
      server.errors["WatchEvents"] = {grpc::StatusCode::NOT_FOUND, "no job 7"};
    });
  });
  const Outcome outcome = RunCli(server, {"watch", "7"});
  forgetting.join();
  EXPECT_EQ(outcome.code, kUsage);
  EXPECT_THAT(outcome.err, HasSubstr("trainyard: no job 7\n"));
}

TEST_F(FollowTest, OnATerminalTheBlockIsRedrawnAndTakenAwayAtTheEnd) {
  TellAll(v1::JOB_STATE_SUCCEEDED);
  Style style;
  style.terminal = style.unicode = style.colour = true;
  style.width = 90;
  const Outcome outcome = RunCli(server.address(), {"watch", "7"}, style);
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("\x1b[J"), HasSubstr("━"), HasSubstr("target val_accuracy >= 0.91")));
  const std::string rest = outcome.out.substr(outcome.out.rfind("\x1b[J"));
  EXPECT_THAT(rest, AllOf(HasSubstr("TRIAL"), Not(HasSubstr("━"))));
}

}  // namespace
}  // namespace trainyard::cli
