// Programs that crash, print without end, leave children behind or need what is not there: each is
// told apart, and none of them harms the worker.
#include <signal.h>

#include <thread>

#include "tests/worker/program/runner_fixture.h"

namespace trainyard::program {
namespace {

using testing::AnyOf;
using testing::Contains;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

using HostileProgramTest = ProgramRunnerTest;

bool IsGone(const std::string& pid_file) {
  pid_t pid = 0;
  std::ifstream(pid_file) >> pid;
  EXPECT_GT(pid, 0) << pid_file;
  return kill(pid, 0) != 0;
}

TEST_F(HostileProgramTest, AGigabyteWithoutALineAndALotOfLinesAreReadAndLeftOut) {
  const Record record =
      RunToEnd(Sh("head -c 1073741824 /dev/zero\n"
                  "yes 'nothing: to see here' | head -c 30000000\n"
                  "printf '\\033[31m\\377\\376\\007\\n'\n"
                  "echo accuracy=0.5"));
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  EXPECT_EQ(record.epochs().at(0).val_accuracy(), 0.5);
}

TEST_F(HostileProgramTest, ChildrenThatFledIntoSessionsOfTheirOwnAreEndedWithIt) {
  const std::string pids = folder_ / "pids";
  std::filesystem::create_directory(pids);
  const Record record = RunToEnd(Sh("setsid sh -c 'echo $$ > " + pids +
                                    "/a; exec sleep 1000' &\n"
                                    "(setsid sh -c 'trap \"\" TERM HUP; echo $$ > " +
                                    pids +
                                    "/b; sleep 1000; true' &)\n"
                                    "while [ ! -s " +
                                    pids + "/a ] || [ ! -s " + pids +
                                    "/b ]; do sleep 0.02; done\n"
                                    "echo accuracy=0.5"));
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  EXPECT_TRUE(IsGone(pids + "/a"));
  EXPECT_TRUE(IsGone(pids + "/b"));
}

TEST_F(HostileProgramTest, ACrashIsToldWithItsSignalAndMayBeTriedAgain) {
  const Record record = RunToEnd(Sh("echo about to; kill -SEGV $$"));
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::FAILED);
  EXPECT_THAT(record.ended()->message(), HasSubstr("SIGSEGV; it printed last: about to"));
}

TEST_F(HostileProgramTest, AMissingPackageIsNamed) {
  const Record record = RunToEnd(Python("import no_such_package_anywhere"));
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::FAILED_FINALLY);
  EXPECT_THAT(record.ended()->message(), HasSubstr("needs the package no_such_package_anywhere"));
}

TEST_F(HostileProgramTest, ACommandThatIsNotThereOrMayNotRunIsFinal) {
  const Record missing = RunToEnd(StartOf({{.name = "x", .content = "x"}}, {"no-such-command"}));
  EXPECT_EQ(missing.ended()->outcome(), AttemptEnded::FAILED_FINALLY);
  EXPECT_THAT(missing.ended()->message(),
              HasSubstr("program.command: \"no-such-command\" was not found on the PATH"));
  const Record text = RunToEnd(StartOf({{.name = "x", .content = "x"}}, {"./x"}, 2));
  EXPECT_EQ(text.ended()->outcome(), AttemptEnded::FAILED_FINALLY);
  EXPECT_THAT(text.ended()->message(), HasSubstr("\"./x\" may not be executed"));
}

TEST_F(HostileProgramTest, GarbageInTheMetricsFileIsToldOnceAndTheRestCounts) {
  const Record record =
      RunToEnd(Sh("m=$TRAINYARD_METRICS_FILE\n"
                  "head -c 300000 /dev/urandom >> $m; echo >> $m\n"
                  "head -c 200000 /dev/zero >> $m; echo >> $m\n"
                  "echo '{\"epoch\": -3}' >> $m\n"
                  "echo '{\"epoch\": 1, \"val_accuracy\": 0.5}' >> $m\n"
                  "echo '{\"epoch\": 9000, \"val_accuracy\": 0.9}' >> $m\n"
                  "rm $m; ln -s /etc/passwd $m"));
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  ASSERT_THAT(record.epochs(), SizeIs(1));
  EXPECT_THAT(Notes(record), SizeIs(2));
  EXPECT_THAT(Notes(record), Contains(HasSubstr("TRAINYARD_METRICS_FILE, line ")));
  EXPECT_THAT(Notes(record), Contains(HasSubstr("epoch 9000 after epoch 1")));
}

TEST_F(HostileProgramTest, ALossThatIsNoNumberIsDivergence) {
  const Record record =
      RunToEnd(Sh("echo '{\"epoch\": 1, \"loss\": NaN}' >> $TRAINYARD_METRICS_FILE"));
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::DIVERGED);
}

TEST_F(HostileProgramTest, AnEntryThatIsALinkOrNotThereIsNoCheckpoint) {
  const Record record =
      RunToEnd(Sh("ln -s /etc $TRAINYARD_CHECKPOINT_DIR/all\n"
                  "echo '{\"epoch\": 1, \"val_accuracy\": 0.5, \"checkpoint\": \"all\"}' >> "
                  "$TRAINYARD_METRICS_FILE; sleep 0.2"));
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  EXPECT_THAT(Notes(record), Contains(HasSubstr("no checkpoint of epoch 1")));
  ASSERT_THAT(record.checkpoints(), SizeIs(1));
  EXPECT_THAT(gateway_.blob(record.checkpoints()[0].sha256()), Not(HasSubstr("passwd")));
}

TEST_F(HostileProgramTest, ItsFolderIsGoneWhateverItDidToIt) {
  RunToEnd(Sh("mkdir -p a/b; touch a/b/c; chmod 000 a/b a; chmod 000 $HOME; echo accuracy=0.5"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "work"));
}

TEST_F(HostileProgramTest, OnlyOneThatCountsStepsIsSaidToTrain) {
  const auto agent = Agent();
  gateway_.SendStart(Sh("echo '{\"step\": 5}' >> $TRAINYARD_METRICS_FILE\nsleep 1000"));
  gateway_.WaitFor("training", [](const Record& r) {
    return !r.renewals.empty() && r.renewals.back().phase() == v1::PHASE_TRAINING &&
           r.renewals.back().step() == 5;
  });
  gateway_.SendSuperseded(agent::Ref(1));
  gateway_.SendStart(Sh("while :; do echo working; sleep 0.03; done", 2));
  // Signs of life, and never steps that could stand still.
  std::set<v1::Phase> phases;
  const auto record = gateway_.WaitFor("two phases", [&](const Record& r) {
    for (const v1::Renewal& renewal : r.renewals) {
      if (renewal.attempt().attempt() == 2) phases.insert(renewal.phase());
    }
    return phases.size() >= 2;
  });
  EXPECT_THAT(phases, Not(Contains(v1::PHASE_TRAINING)));
}

}  // namespace
}  // namespace trainyard::program
