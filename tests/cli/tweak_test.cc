// `tweak`, and how what the tuner and people change shows: in the job, its report and live.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "cli/event_line.h"
#include "cli/exit_code.h"
#include "cli/live_view.h"
#include "cli/text.h"
#include "cli/tweak_view.h"
#include "tests/cli/scripted_server.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

v1::Tweak Widen() {
  v1::Tweak tweak = SampleJob().trials(1).tweak();
  tweak.set_diagnosis("too little capacity");
  (*tweak.mutable_evidence())["train_accuracy"] = 0.879;
  (*tweak.mutable_evidence())["gap"] = 0.0078;
  tweak.set_move("widen");
  tweak.set_base(1);
  tweak.set_expected_gain(0.012);
  return tweak;
}

v1::Adjustment LowerRate(int number, int64_t step, bool settled) {
  v1::Adjustment adjustment;
  adjustment.set_number(number);
  adjustment.set_step(step);
  adjustment.set_settled(settled);
  adjustment.mutable_configuration()->mutable_training()->set_epochs(6);
  adjustment.mutable_tweak()->set_finding("plateau");
  adjustment.mutable_tweak()->set_reason("no progress in 3 epochs");
  v1::Change* change = adjustment.mutable_tweak()->add_changes();
  change->set_path("train.lr");
  change->set_from("0.02");
  change->set_to("0.002");
  return adjustment;
}

// Trial 2 grew from trial 1 and was changed twice, trial 3 is halted, trial 4 runs beside it.
v1::Job SearchingJob() {
  v1::Job job = SampleJob();
  v1::Trial& grown = *job.mutable_trials(1);
  *grown.mutable_tweak() = Widen();
  grown.set_inherited_from(1);
  grown.set_gained(0.0411);
  *grown.add_adjustments() = LowerRate(1, 1240, true);
  *grown.add_adjustments() = LowerRate(2, 1900, false);
  grown.add_attempts()->set_state(v1::ATTEMPT_STATE_COMPLETED);  // at a rung
  grown.add_attempts()->set_state(v1::ATTEMPT_STATE_RUNNING);
  v1::Trial halted = job.trials(0);
  halted.set_number(3);
  halted.set_state(v1::TRIAL_STATE_HALTED);
  halted.mutable_configuration()->mutable_training()->set_epochs(9);
  halted.set_until_epoch(2);
  *job.add_trials() = halted;
  halted.set_number(4);
  halted.set_state(v1::TRIAL_STATE_RUNNING);
  halted.set_until_epoch(3);
  *job.add_trials() = halted;
  return job;
}

class TweakTest : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    server.jobs[7] = SearchingJob();
  }
  ScriptedServer server;
};

TEST_F(TweakTest, SaysWhatWasFoundWhatIsExpectedAndWhenItTakesEffect) {
  *server.tweaked.mutable_tweak() = Widen();
  server.tweaked.set_effect("trial 2 is stopped, trial 5 follows");
  const Outcome outcome =
      RunCli(server, {"tweak", "7", "--trial", "2", "--set", "network.layers[0].conv.filters=16"});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_EQ(outcome.out,
            "Job 7 goes on with:\n"
            "KEY                             FROM  TO\n"
            "network.layers[0].conv.filters  8     16\n"
            "finding   underfit: too little capacity\n"
            "evidence  gap 0.0078, train_accuracy 0.879\n"
            "reason    train accuracy 0.8790 and validation accuracy 0.8712 are both low\n"
            "expected  more capacity (+0.0120)\n"
            "effect    trial 2 is stopped, trial 5 follows\n");
  ASSERT_EQ(server.tweaks.size(), 1u);
  EXPECT_EQ(server.tweaks[0].trial(), 2);
  EXPECT_FALSE(server.tweaks[0].dry_run());
}

TEST_F(TweakTest, ADryRunWithoutChangesAsksWhatTheTunerWouldDo) {
  server.tweaked.mutable_tweak()->set_finding("still improving");
  server.tweaked.set_effect("what still runs decides what comes next");
  const Outcome outcome = RunCli(server, {"tweak", "7", "--dry-run"});
  EXPECT_EQ(outcome.out,
            "Nothing changed; job 7 would go on with:\n"
            "  no changes\n"
            "finding   still improving\n"
            "effect    what still runs decides what comes next\n");
  ASSERT_EQ(server.tweaks.size(), 1u);
  EXPECT_EQ(server.tweaks[0].trial(), 0);
  EXPECT_TRUE(server.tweaks[0].dry_run());
  EXPECT_THAT(RunCli(server, {"tweak", "7", "--dry-run", "--field", "effect"}).out,
              "what still runs decides what comes next\n");
}

TEST_F(TweakTest, ATrialThatCannotBeMeantIsWrongUsage) {
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"tweak", "7", "--trial", "2"},
                                             {"tweak", "7", "--trial", "2", "--dry-run"},
                                             {"tweak", "7", "--trial", "0", "--set", "train.lr=1"},
                                             {"tweak", "7", "--trial", "-1", "--set", "train.lr=1"},
                                             {"tweak", "7", "--trial", "two", "--set", "a=1"},
                                             {"tweak", "7", "--trial"}}) {
    const Outcome outcome = RunCli(server, arguments);
    EXPECT_EQ(outcome.code, kUsage) << ::testing::PrintToString(arguments);
    EXPECT_THAT(outcome.err, AllOf(StartsWith("trainyard: "), HasSubstr("--trial")));
  }
  EXPECT_TRUE(server.tweaks.empty());
}

TEST_F(TweakTest, HostileTextAndNumbersOfATweakAreHarmless) {
  v1::Tweak& tweak = *server.tweaked.mutable_tweak();
  tweak.set_diagnosis("a\x1b[2Jb\nc");
  (*tweak.mutable_evidence())["x\x1b[31m"] = NAN;
  server.tweaked.set_effect("e\x1b]0;owned\x07");
  const Outcome outcome = RunCli(server, {"tweak", "7"});
  EXPECT_THAT(outcome.out, AllOf(Not(HasSubstr("\x1b")), HasSubstr("ab c"), HasSubstr("x nan"),
                                 HasSubstr("effect    e\n")));
}

TEST_F(TweakTest, ATrialOfASearchIsOfNoOther) {
  v1::Trial trial;
  trial.mutable_tweak()->set_base(1);
  trial.mutable_tweak()->set_move("widen");
  EXPECT_EQ(OriginText(trial), "widen of trial 1");
  trial.mutable_tweak()->set_move("search");
  EXPECT_EQ(OriginText(trial), "search");
}

TEST_F(TweakTest, TheJobShowsWhatMadeATrialAndWhatWasChangedWhileItRan) {
  const Outcome outcome = RunCli(server, {"job", "show", "7"});
  EXPECT_THAT(outcome.out, HasSubstr("    2  running    network.layers[0].conv.filters 8 -> 16     "
                                     "   0.9123     1/6         0 "
                                     " 1 min 32 s\n"
                                     "                  underfit: train accuracy 0.8790 and\n"
                                     "                  validation accuracy 0.8712 are both low\n"
                                     "                  widen of trial 1, with its weights\n"
                                     "                  expected +0.0120, gained +0.0411\n"
                                     "                  10,810 values\n"
                                     "    3  halted     as the spec says                           "
                                     "   0.8712     2/2         1 "
                                     "       41 s\n"));
  EXPECT_THAT(
      outcome.out,
      HasSubstr("\n  changed    trial 2 from step 1240 on: train.lr 0.02 -> 0.002 (plateau: "
                "no progress in 3 epochs)\n"
                "             trial 2 from about step 1900 on: train.lr 0.02 -> 0.002 "
                "(plateau: no progress in 3\n"
                "             epochs), on its way\n"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("restarts   "))) << "to go on from a rung is none";
  for (const int width : {80, 100, 120}) {
    Style style;
    style.terminal = true;
    style.width = width;
    std::istringstream lines(RunCli(server.address(), {"job", "show", "7"}, style).out);
    for (std::string line; std::getline(lines, line);)
      EXPECT_LE(Width(line), std::min(width, 100)) << line;
  }
}

TEST_F(TweakTest, TheTargetSaysHowSureItMustBe) {
  server.jobs[7].mutable_spec()->mutable_target()->set_confidence(0.95);
  EXPECT_THAT(RunCli(server, {"job", "show", "7"}).out,
              HasSubstr("target     val_accuracy >= 0.91 with confidence 0.95\n"));
}

TEST_F(TweakTest, CurvesHaveTheNormsWhereTheyWereTold) {
  v1::Epoch& row = *server.jobs[7].mutable_trials(0)->mutable_epochs(1);
  row.set_gradient_norm(1.5);
  row.set_update_ratio(0.001);
  std::istringstream lines(RunCli(server, {"job", "curves", "7"}).out);
  std::string title, untold, told;
  std::getline(lines, title);
  std::getline(lines, untold);
  std::getline(lines, told);
  EXPECT_THAT(title, HasSubstr(",exact,gradient_norm,update_ratio,dead_units"));
  EXPECT_EQ(untold, "1,1,0,0,0,0,0.85,0,0,0,false,,,");
  EXPECT_EQ(told, "1,2,0,0,0,0,0.8712,0,0,0,false,1.5,0.001,0");
}

TEST_F(TweakTest, TheReportOfAMissedTargetSaysWhatWouldBeTriedNext) {
  v1::Job job = FinishedJob(v1::JOB_STATE_BELOW_TARGET);
  *job.mutable_trials(1) = SearchingJob().trials(1);
  job.set_reason("best val_accuracy 0.9123 misses ...; next it would try: more filters");
  server.jobs[7] = job;
  const fs::path report =
      fs::temp_directory_path() / ("trainyard-tweak-" + std::to_string(getpid()) + ".xml");
  const Outcome outcome = RunCli(server, {"wait", "7", "--junit", report});
  EXPECT_EQ(outcome.code, kBelowTarget);
  EXPECT_THAT(outcome.out, HasSubstr("next it would try: more filters"));
  std::ifstream in(report);
  std::ostringstream text;
  text << in.rdbuf();
  fs::remove(report);
  EXPECT_THAT(text.str(),
              AllOf(HasSubstr("<failure message=\"best val_accuracy 0.9123 misses ...; next it "
                              "would try: more filters\""),
                    HasSubstr("expected +0.0120, gained +0.0411; trial 2 from step 1240 on: ")));
}

TEST_F(TweakTest, ForTrialIsOverWithTheFirstOfThoseThatRun) {
  server.Tell(MakeEvent("trial_ended", "trial 1 is over", 1));  // long ago
  std::thread ending([&] {
    server.AwaitWatchers(1);
    server.Tell(MakeEvent("trial_ended", "trial 2 is over", 2));  // trial 4 runs on
  });
  const Outcome outcome = RunCli(server, {"wait", "7", "--for", "trial", "--timeout", "60s"});
  ending.join();
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
}

TEST(TweakEvents, AnAdjustmentIsALineWithItsChanges) {
  v1::Event event = MakeEvent("adjustment", "trial 2 from step 1240 on", 2);
  *event.mutable_tweak() = LowerRate(1, 1240, true).tweak();
  EXPECT_THAT(EventLines(Style{}, false).Render(event),
              HasSubstr("  adjustment    trial 2 from step 1240 on [train.lr 0.02 -> 0.002]\n"));
}

TEST(TweakEvents, EachTrialsFirstCheckpointIsTold) {
  EventLines lines(Style{}, false);
  EXPECT_THAT(lines.Render(MakeEvent("checkpoint", "at step 50", 1)), HasSubstr("at step 50"));
  EXPECT_THAT(lines.Render(MakeEvent("checkpoint", "at step 60", 2)), HasSubstr("at step 60"));
  EXPECT_EQ(lines.Render(MakeEvent("checkpoint", "at step 70", 1)), "");
  lines.Render(MakeEvent("attempt_started", "attempt 2", 2));
  EXPECT_EQ(lines.Render(MakeEvent("checkpoint", "at step 80", 1)), "");
  EXPECT_THAT(lines.Render(MakeEvent("checkpoint", "at step 80", 2)), HasSubstr("at step 80"));
}

// ---- The live view, with several trials at once ----

class ParallelViewTest : public ::testing::Test {
 protected:
  explicit ParallelViewTest() : view(out, StyleOf80()) { view.SetJob(SearchingJob()); }

  static Style StyleOf80() {
    Style style;
    style.terminal = style.unicode = true;
    style.width = 80;
    return style;
  }
  bool Tell(const std::string& kind, int trial) { return view.Add(MakeEvent(kind, "", trial)); }
  void Epoch(int trial, int number, double accuracy) {
    v1::Event event = MakeEvent("epoch", "", trial);
    event.mutable_epoch()->set_trial(trial);
    event.mutable_epoch()->set_epoch(number);
    event.mutable_epoch()->set_val_accuracy(accuracy);
    event.mutable_epoch()->set_images_per_second(12345);
    view.Add(event);
  }
  std::vector<std::string> Block() const { return view.Block(SampleJob().created_ms() + 65'000); }

  std::ostringstream out;
  LiveView view;
};

TEST_F(ParallelViewTest, EachRunningTrialHasALineAndACurve) {
  for (const int trial : {2, 4}) {
    Tell("trial_started", trial);
    Tell("attempt_started", trial);
  }
  Epoch(2, 1, 0.5);
  Epoch(4, 1, 0.6);
  Epoch(2, 2, 0.7);
  Tell("attempt_lost", 4);
  EXPECT_THAT(
      Block(),
      ElementsAre(HasSubstr("────"), "job 7  fashion  training  trials 2, 4 of 8  1 min 05 s",
                  "trial  2  ━━━━━───────────  epoch 2 of 6  0.7000  12,345 images/s",
                  "trial  4  ━━━━━───────────  epoch 1 of 3  restarting  0.6000  12,345 images/s",
                  "  0.9100 ┤       ", "         ┤       ", "         ┤  ██   ",
                  "  0.5000 ┤▁▁██ ██", HasSubstr("best val_accuracy 0.7000 (trial 2, epoch 2)")))
      << "curves stand side by side, whatever order their epochs came in";
}

TEST_F(ParallelViewTest, WhatHasEndedOrHaltedLeavesAndWhatIsPromotedComesBack) {
  for (const int trial : {2, 3, 4}) Tell("attempt_started", trial);
  Epoch(3, 2, 0.5);
  EXPECT_THAT(Block(), Contains(HasSubstr("trials 2, 4 of 8"))) << "trial 3 halts after 2 epochs";
  EXPECT_TRUE(Tell("attempt_restarted", 3)) << "it goes on: its length is to be asked for";
  v1::Job promoted = SearchingJob();
  promoted.mutable_trials(2)->set_until_epoch(0);
  view.SetJob(promoted);
  EXPECT_THAT(Block(), Contains(HasSubstr("trials 2, 3, 4 of 8")));
  EXPECT_THAT(Block(), Not(Contains(HasSubstr("restart")))) << "to go on is no restart";
  Tell("trial_ended", 2);
  Tell("trial_ended", 4);
  EXPECT_THAT(Block(), Contains(HasSubstr("trial 3 of 8")));
}

TEST_F(ParallelViewTest, ManyTrialsDoNotFillTheScreen) {
  for (int trial = 1; trial <= 40; ++trial) {
    Tell("attempt_started", trial + 10);
    for (int epoch = 1; epoch <= 9; ++epoch) Epoch(trial + 10, epoch, 0.5);
  }
  const auto block = Block();
  EXPECT_EQ(block.size(), 14u);
  EXPECT_THAT(block, Contains("and 34 more"));
  EXPECT_THAT(block, Contains("job 7  fashion  training  40 trials  1 min 05 s"));
  for (int trial = 1; trial <= 39; ++trial) Tell("trial_ended", trial + 10);
  EXPECT_THAT(Block(), Contains(HasSubstr("trial 50 of 8")));
}

TEST_F(ParallelViewTest, AFrameIsOnePieceAndClearsLineByLine) {
  view.Print("", 0);
  out.str("");
  view.Print("a line\n", 0);
  const std::string frame = out.str();
  EXPECT_THAT(frame, StartsWith("\r\x1b[")) << "back to the block's first line";
  EXPECT_THAT(frame, HasSubstr("\x1b[Ka line\n"));
  EXPECT_EQ(frame.find("\x1b[J"), frame.size() - 3) << "nothing is cleared before it is written";
}

}  // namespace
}  // namespace trainyard::cli
