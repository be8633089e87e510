// What pipelines without a JSON parser are given: single fields, curves as CSV, causes of restarts.
#include "cli/field.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "cli/exit_code.h"
#include "tests/cli/scripted_server.h"

namespace trainyard::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class FieldTest : public ::testing::Test {
 protected:
  void SetUp() override { server.jobs[7] = SampleJob(); }

  // Of `job show 7`.
  Outcome Show(const std::string& path) {
    return RunCli(server, {"job", "show", "7", "--field", path});
  }

  ScriptedServer server;
};

TEST_F(FieldTest, IsPrintedAloneAndWithoutQuotes) {
  EXPECT_EQ(Show("state").out, "JOB_STATE_RUNNING\n");
  EXPECT_EQ(Show("id").out, "7\n");
  EXPECT_EQ(Show("manual").out, "false\n");
  EXPECT_EQ(Show("trials[1].epochs[0].val_accuracy").out, "0.9123\n");
  EXPECT_EQ(Show("trials[].number").out, "1\n2\n");
  EXPECT_EQ(Show("trials[].epochs[].val_accuracy").out, "0.85\n0.8712\n0.9123\n");
  EXPECT_EQ(Show("spec.target").out,
            "{\"bound\":0.91,\"confidence\":0,\"metric\":\"VAL_ACCURACY\"}\n");
  server.jobs[7].set_reason("two\nlines \x1b[2Jand \"quotes\"");
  EXPECT_THAT(Show("reason").out, AllOf(HasSubstr("and \"quotes\"\n"), Not(HasSubstr("\x1b"))));
}

TEST_F(FieldTest, OfWhatWasSubmittedIsTheJobsNumber) {
  server.submitted.set_job(12);
  const Outcome outcome = RunCli(server, {"submit", "https://host/team/cnn.git", "--field", "job"});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_EQ(outcome.out, "12\n");
  EXPECT_EQ(RunCli(server, {"version", "--field", "coordinator.version"}).out, "9.9.9\n");
}

TEST_F(FieldTest, OfWaitKeepsTheExitCode) {
  server.jobs[7] = FinishedJob(v1::JOB_STATE_BELOW_TARGET);
  const Outcome outcome = RunCli(server, {"wait", "7", "--field", "model.target_met"});
  EXPECT_EQ(outcome.code, kBelowTarget) << outcome.err;
  EXPECT_EQ(outcome.out, "false\n");
}

TEST_F(FieldTest, ThatIsNotThereIsAnErrorThatSaysWhatIs) {
  const std::pair<const char*, const char*> bad[] = {
      {"stat", "the result has no stat; expected one of "},
      {"spec.targett", "spec has no targett; expected one of "},
      {"model.val_accuracy", "the result has no model"},  // not yet
      {"state.x", "it is a single value"},
      {"id[0]", "id is no list"},
      {"trials[2]", "trials has 2 elements, no [2]"}};
  for (const auto& [path, why] : bad) {
    const Outcome outcome = Show(path);
    EXPECT_EQ(outcome.code, kUsage) << path;
    EXPECT_EQ(outcome.out, "") << path;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("--field: "), HasSubstr(why)));
  }
}

TEST_F(FieldTest, WhatIsNoPathIsRefusedBeforeAnythingIsDone) {
  for (const char* path : {"", ".", "a..b", "a.", ".a", "[0]", "a[-1]", "a[x]", "a[1", "a b",
                           "a\x1b[2J", "$.state", "trials[99999999999]"}) {
    const Outcome outcome = RunCli(server, {"job", "cancel", "7", std::string("--field=") + path});
    if (*path == '\0') continue;  // as if it were not there
    EXPECT_EQ(outcome.code, kUsage) << path;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("--field"), Not(HasSubstr("\x1b"))));
  }
  EXPECT_LE(server.calls.size(), 1u);
  EXPECT_FALSE(CheckField(std::string(100'000, 'a')).ok());
}

TEST_F(FieldTest, CurvesAreALineForEachEpoch) {
  v1::Epoch& row = *server.jobs[7].mutable_trials(0)->mutable_epochs(0);
  row.set_step(75);
  row.set_train_loss(0.5);
  row.set_val_loss(std::numeric_limits<double>::quiet_NaN());
  row.set_exact(true);
  EXPECT_EQ(RunCli(server, {"job", "curves", "7"}).out,
            "trial,epoch,step,train_loss,train_accuracy,val_loss,val_accuracy,learning_rate,"
            "images_per_second,seconds,exact,gradient_norm,update_ratio,dead_units\n"
            "1,1,75,0.5,0,nan,0.85,0,0,0,true,,,\n"
            "1,2,0,0,0,0,0.8712,0,0,0,false,,,\n"
            "2,1,0,0,0,0,0.9123,0,0,0,false,,,\n");
  EXPECT_EQ(RunCli(server, {"job", "curves", "7", "--field", "val_accuracy"}).out,
            "0.85\n0.8712\n0.9123\n");
  EXPECT_EQ(RunCli(server, {"job", "curves", "8"}).code, kUsage);
}

TEST_F(FieldTest, JobShowTellsEachRestartWithItsCause) {
  v1::Trial& trial = *server.jobs[7].mutable_trials(0);
  const auto attempt = [&](int number, bool finishing, const std::string& cause) {
    v1::Attempt& added = *trial.add_attempts();
    added.set_number(number);
    added.set_finishing(finishing);
    added.set_step(100 * number);
    added.set_cause(cause);
  };
  attempt(1, false, "exited with signal 9\n");
  attempt(2, false, "all epochs done");
  attempt(3, true, "lease expired");
  attempt(4, true, "published");
  const std::string shown = RunCli(server, {"job", "show", "7"}).out;
  EXPECT_THAT(shown,
              HasSubstr("  restarts   trial 1, attempt 1 at step 100: exited with signal 9"));
  EXPECT_THAT(shown, HasSubstr("             trial 1, attempt 3 at step 300: lease expired\n"));
  EXPECT_THAT(shown, AllOf(Not(HasSubstr("all epochs done")), Not(HasSubstr("published"))));
}

}  // namespace
}  // namespace trainyard::cli
