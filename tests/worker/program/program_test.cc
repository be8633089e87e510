// The contract of programs, kept with programs in sh and Python that know nothing but files and
// their environment.
#include <signal.h>

#include "tests/worker/program/runner_fixture.h"

namespace trainyard::program {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

// Trains $last epochs, continuing where it is told to; each is worth a tenth more.
constexpr char kTrain[] = R"(
last=${last:-4}
epoch=0
[ -z "$TRAINYARD_RESUME_FROM" ] || epoch=$(cat "$TRAINYARD_RESUME_FROM/epoch")
while [ $epoch -lt $last ]; do
  epoch=$((epoch + 1))
  mkdir "$TRAINYARD_CHECKPOINT_DIR/.e$epoch"
  echo $epoch > "$TRAINYARD_CHECKPOINT_DIR/.e$epoch/epoch"
  echo "weights $epoch" > "$TRAINYARD_CHECKPOINT_DIR/.e$epoch/model.bin"
  mv "$TRAINYARD_CHECKPOINT_DIR/.e$epoch" "$TRAINYARD_CHECKPOINT_DIR/e$epoch"
  values="\"loss\": 1.5, \"val_accuracy\": 0.$epoch, \"checkpoint\": \"e$epoch\""
  echo "{\"epoch\": $epoch, $values}" >> "$TRAINYARD_METRICS_FILE"
done
)";

TEST_F(ProgramRunnerTest, AProgramInAnyLanguageStreamsEpochsAndCheckpoints) {
  const Record record = RunToEnd(Sh(kTrain));
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  const auto epochs = record.epochs();
  ASSERT_THAT(epochs, SizeIs(4));
  EXPECT_EQ(epochs[2].epoch(), 3);
  EXPECT_EQ(epochs[2].val_accuracy(), 0.3);
  EXPECT_EQ(epochs[2].train_loss(), 1.5);
  EXPECT_TRUE(std::isnan(epochs[2].val_loss()));
  EXPECT_FALSE(epochs[2].exact());
  int done = 0;
  for (const v1::WorkerMessage& report : record.reports) {
    if (report.has_epoch()) done = report.epoch().epoch().epoch();
    if (report.has_checkpoint()) {
      EXPECT_LE(report.checkpoint().epoch(), done);
    }
  }
  EXPECT_EQ(record.checkpoints().back().epoch(), 4);
  EXPECT_TRUE(record.checkpoints().back().end_of_epoch());
}

TEST_F(ProgramRunnerTest, AnotherAttemptContinuesFromTheCheckpointAndTheBestOneIsPublished) {
  v1::Start first = Sh(std::string("last=2") + kTrain);
  std::string checkpoint;
  {
    const Record record = RunToEnd(first);
    ASSERT_THAT(record.epochs(), SizeIs(2));
    checkpoint = record.checkpoints().back().sha256();
  }
  v1::Start second = Sh(kTrain, 2);
  second.set_checkpoint_sha256(checkpoint);
  const Record record = RunToEnd(second);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  ASSERT_THAT(record.epochs(), SizeIs(4)) << "3 and 4 are new";
  EXPECT_EQ(record.epochs()[2].epoch(), 3);
  EXPECT_GT(record.epochs()[2].step(), record.epochs()[1].step());

  v1::Start finish = Sh("echo must not run; exit 1", 3);
  finish.set_checkpoint_sha256(record.checkpoints().back().sha256());
  finish.set_finishing(true);
  const Record finished = RunToEnd(finish);
  ASSERT_NE(finished.finished(), nullptr) << finished.ended()->message();
  const v1::Model& model = finished.finished()->model();
  EXPECT_EQ(model.epoch(), 4);
  EXPECT_EQ(model.val_accuracy(), 0.4);
  EXPECT_FALSE(model.target_met());
  ASSERT_EQ(model.files_size(), 1);
  EXPECT_EQ(model.files(0).name(), "model.bin");
  EXPECT_EQ(gateway_.blob(model.files(0).sha256()), "weights 4\n");
}

TEST_F(ProgramRunnerTest, AProgramIsEndedBehindTheEpochOfItsRungAndPromotedFromThere) {
  const std::string endless = std::string("last=6") + kTrain + "sleep 1000\n";
  v1::Start first = Sh(endless);
  first.set_until_epoch(2);
  Record record = RunToEnd(first);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED);
  EXPECT_EQ(record.ended()->message(), "halted after epoch 2");
  EXPECT_THAT(record.epochs(), SizeIs(2)) << "what it went on to do counts for nothing";
  EXPECT_EQ(record.checkpoints().back().epoch(), 2);

  v1::Start promoted = Sh(endless, 2);
  promoted.set_until_epoch(4);
  promoted.set_checkpoint_sha256(record.checkpoints().back().sha256());
  record = RunToEnd(promoted);
  EXPECT_EQ(record.ended()->message(), "halted after epoch 4");
  EXPECT_THAT(record.epochs(), SizeIs(4)) << "3 and 4 are new";

  // A worker that died between its checkpoint and its last word leaves nothing to do.
  v1::Start again = Sh("echo must not run; exit 1", 3);
  again.set_until_epoch(4);
  again.set_checkpoint_sha256(record.checkpoints().back().sha256());
  record = RunToEnd(again);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  EXPECT_THAT(record.epochs(), SizeIs(4));
}

TEST_F(ProgramRunnerTest, AnEarlyStopEndsAProgramBehindTheEpochInProgressAndNothingElseReachesIt) {
  const std::string go_on = folder_ / "go-on";
  const std::string waits =
      "\nwhile [ $epoch -ge 1 ] && [ ! -e " + go_on + " ]; do sleep 0.01; done\ndone\n";
  std::string script = std::string("last=9") + kTrain + "sleep 1000\n";
  script.replace(script.rfind("\ndone\n"), 6, waits);
  const auto agent = Agent();
  gateway_.SendStart(Sh(script));
  const auto epochs =
      gateway_.WaitFor("epoch 1", [](const Record& r) { return r.epochs().size() == 1; }).epochs();
  v1::Adjustment stop;
  stop.set_number(1);
  stop.set_stop(true);
  const auto answer = [&](int64_t step) {
    const size_t before = gateway_.record().adjusted().size();
    stop.set_step(step);
    gateway_.SendAdjust(agent::Ref(1), stop);
    return gateway_
        .WaitFor("an answer", [&](const Record& r) { return r.adjusted().size() > before; })
        .adjusted()
        .back();
  };
  EXPECT_FALSE(answer(epochs[0].step()).taken()) << "that epoch has ended";
  const v1::AdjustReport taken = answer(epochs[0].step() + 1);
  EXPECT_TRUE(taken.taken());
  EXPECT_EQ(taken.step(), epochs[0].step() + 1);
  EXPECT_EQ(answer(epochs[0].step() + 5).step(), taken.step()) << "held already";
  v1::Adjustment change;
  change.set_number(2);
  change.set_step(100);
  gateway_.SendAdjust(agent::Ref(1), change);
  gateway_.WaitFor("a note", [](const Record& r) { return !Notes(r).empty(); });
  std::ofstream(go_on) << "";
  const Record record = WaitForEnd(1);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED);
  EXPECT_THAT(record.ended()->message(), HasSubstr("stopped early at step"));
  EXPECT_THAT(record.ended()->adjusted_at(), ElementsAre(taken.step()));
  EXPECT_THAT(record.epochs(), SizeIs(2));
  EXPECT_THAT(Notes(record), ElementsAre(HasSubstr("adjustment 2: found a change")));
}

TEST_F(ProgramRunnerTest, TheEnvironmentIsTheContractAndNothingElse) {
  setenv("TRAINYARD_TOKEN", "secret", 1);
  setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
  options_.threads = 3;
  v1::Start start =
      Sh("env | cut -d= -f1 | sort > $TRAINYARD_OUTPUT_DIR/names\n"
         "cat $TRAINYARD_PARAMS_FILE > $TRAINYARD_OUTPUT_DIR/params\n"
         "cat $TRAINYARD_DATA_DIR/words > $TRAINYARD_OUTPUT_DIR/data\n"
         "ls $HOME $TMPDIR\n"
         "echo accuracy=0.5");
  start.mutable_configuration()->mutable_changes()->set_epochs(10);
  start.mutable_configuration()->mutable_changes()->set_learning_rate(0.25);
  v1::ProgramData& data = *start.mutable_spec()->mutable_program()->add_data();
  data.set_name("words");
  data.mutable_file()->set_host_path(folder_ / "words.txt");
  std::ofstream(folder_ / "words.txt") << "hello";
  Record record = RunToEnd(start);
  unsetenv("TRAINYARD_TOKEN");
  unsetenv("AWS_SECRET_ACCESS_KEY");
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  start.set_checkpoint_sha256(record.checkpoints().back().sha256());
  start.set_finishing(true);
  start.mutable_attempt()->set_attempt(2);
  record = RunToEnd(start);
  ASSERT_NE(record.finished(), nullptr) << record.ended()->message();
  std::map<std::string, std::string> files;
  for (const auto& file : record.finished()->model().files()) {
    files[file.name()] = gateway_.blob(file.sha256());
  }
  EXPECT_EQ(files["params"], "{\"epochs\":10,\"learning_rate\":0.25}\n");
  EXPECT_EQ(files["data"], "hello");
  EXPECT_EQ(files["names"],
            "HOME\nKERAS_HOME\nLANG\nOMP_NUM_THREADS\nPATH\nPWD\nPYTHONUNBUFFERED\n"
            "TF_CPP_MIN_LOG_LEVEL\nTMPDIR\nTRAINYARD_ATTEMPT\nTRAINYARD_CHECKPOINT_DIR\n"
            "TRAINYARD_DATA_DIR\nTRAINYARD_JOB\nTRAINYARD_METRICS_FILE\nTRAINYARD_OUTPUT_DIR\n"
            "TRAINYARD_PARAMS_FILE\nTRAINYARD_TRIAL\n")
      << "PWD is the shell's own";
}

TEST_F(ProgramRunnerTest, AnEpochWithoutValidationWaitsForTheNextAndTheLastForTheJudgement) {
  const Record record = RunToEnd(
      Sh("echo '{\"epoch\": 1, \"loss\": 2}' >> $TRAINYARD_METRICS_FILE\n"
         "echo '{\"epoch\": 2, \"loss\": 1}' >> $TRAINYARD_METRICS_FILE\n"
         "echo '{\"result\": {\"accuracy\": 0.75, \"loss\": 0.5}}' >> $TRAINYARD_METRICS_FILE\n"
         "echo trained > model.pt\n"));
  ASSERT_THAT(record.epochs(), SizeIs(2));
  EXPECT_TRUE(std::isnan(record.epochs()[0].val_accuracy()));
  EXPECT_EQ(record.epochs()[1].val_accuracy(), 0.75);
  EXPECT_EQ(record.epochs()[1].val_loss(), 0.5);
  ASSERT_THAT(record.checkpoints(), SizeIs(1)) << "only its end left a model";
  EXPECT_EQ(record.checkpoints()[0].epoch(), 2);
  EXPECT_THAT(gateway_.blob(record.checkpoints()[0].sha256()), HasSubstr("files/model.pt"));
}

TEST_F(ProgramRunnerTest, AProgramThatOnlyWritesAccuracyTxtIsJudgedByIt) {
  const Record record = RunToEnd(Python("open('accuracy.txt', 'w').write('91.5%')"));
  ASSERT_THAT(record.epochs(), SizeIs(1)) << record.ended()->message();
  EXPECT_DOUBLE_EQ(record.epochs()[0].val_accuracy(), 0.915);
}

TEST_F(ProgramRunnerTest, AnAccuracyTxtThatCameWithTheSourceIsNoJudgement) {
  const Record record = RunToEnd(StartOf({{.name = "accuracy.txt", .content = "0.99"}}, {"true"}));
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::FAILED_FINALLY);
  EXPECT_THAT(record.ended()->message(), HasSubstr("without saying how good its model is"));
}

TEST_F(ProgramRunnerTest, WhatPeoplesProgramsPrintAnywayIsHeard) {
  const Record record = RunToEnd(
      Sh("for e in 1 2; do echo \"Epoch $e/2\"\n"
         "echo \"10/10 - 1s - loss: 0.5 - accuracy: 0.8 - val_loss: 0.4 - val_accuracy: 0.$e\"\n"
         "done"));
  ASSERT_THAT(record.epochs(), SizeIs(2)) << record.ended()->message();
  EXPECT_EQ(record.epochs()[1].val_accuracy(), 0.2);
}

TEST_F(ProgramRunnerTest, ItsModelItsNotesAndItsRefusalReachPeople) {
  const Record record = RunToEnd(
      Sh("m=$TRAINYARD_METRICS_FILE\n"
         "echo '{\"model\": {\"description\": \"dense 10\", \"parameters\": 7850, \"changes\": "
         "[{\"path\": \"dense.units\", \"from\": \"10\", \"to\": \"20\"}]}}' >> $m\n"
         "echo '{\"note\": \"small data\"}' >> $m\n"
         "echo '{\"error\": \"no place for a convolution\"}' >> $m\n"
         "exit 70"));
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::FAILED_FINALLY);
  EXPECT_EQ(record.ended()->message(), "no place for a convolution");
  EXPECT_THAT(Notes(record), ElementsAre("small data"));
  EXPECT_EQ(record.reports[0].program().description(), "dense 10");
  EXPECT_EQ(record.reports[0].program().applied(0).to(), "20");
}

TEST_F(ProgramRunnerTest, AStopLetsItCheckpointAndTheNextAttemptGoesOnFromThere) {
  const std::string script =
      "m=$TRAINYARD_METRICS_FILE; c=$TRAINYARD_CHECKPOINT_DIR\n"
      "[ -z \"$TRAINYARD_RESUME_FROM\" ] || {\n"
      "  echo '{\"epoch\": 2, \"val_accuracy\": 0.2}' >> $m\n"
      "  cp $TRAINYARD_RESUME_FROM $TRAINYARD_OUTPUT_DIR/it; exit 0; }\n"
      "trap 'echo middle > $c/.x; mv $c/.x $c/stopped; exit 143' TERM\n"
      "echo '{\"epoch\": 1, \"val_accuracy\": 0.1}' >> $m\n"
      "while :; do sleep 0.05; done";
  const v1::Start start = Sh(script);
  std::string checkpoint;
  {
    const auto agent = Agent();
    gateway_.SendStart(start);
    gateway_.WaitFor("an epoch", [](const Record& r) { return !r.epochs().empty(); });
    gateway_.SendStop(start.attempt(), true);
    const Record record = WaitForEnd(1);
    EXPECT_EQ(record.ended()->outcome(), AttemptEnded::STOPPED);
    EXPECT_THAT(record.ended()->message(), HasSubstr("with a checkpoint"));
    ASSERT_THAT(record.checkpoints(), SizeIs(1));
    EXPECT_FALSE(record.checkpoints()[0].end_of_epoch());
    EXPECT_TRUE(record.checkpoints()[0].final());
    checkpoint = record.checkpoints()[0].sha256();
  }
  v1::Start again = Sh(script, 2);
  again.set_checkpoint_sha256(checkpoint);
  const Record record = RunToEnd(again);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  EXPECT_EQ(record.epochs().back().epoch(), 2);
  EXPECT_THAT(gateway_.blob(record.checkpoints().back().sha256()), HasSubstr("middle"));
}

// The epoch that a stop held back is judged after the restart, and its weights with it.
TEST_F(ProgramRunnerTest, AnEpochHeldBackOverAStopKeepsItsCheckpoint) {
  const std::string script =
      "m=$TRAINYARD_METRICS_FILE; c=$TRAINYARD_CHECKPOINT_DIR\n"
      "[ -z \"$TRAINYARD_RESUME_FROM\" ] || {\n"
      "  echo '{\"result\": {\"accuracy\": 0.9}}' >> $m; exit 0; }\n"
      "for e in 1 2; do\n"
      "  echo weights of $e > $c/.x; mv $c/.x $c/e$e\n"
      "  echo '{\"epoch\": '$e', \"loss\": 1, \"checkpoint\": \"e'$e'\"}' >> $m\n"
      "done\n"
      "trap 'exit 143' TERM\n"
      "while :; do sleep 0.05; done";
  const v1::Start start = Sh(script);
  std::string checkpoint;
  {
    const auto agent = Agent();
    gateway_.SendStart(start);
    gateway_.WaitFor("the first epoch", [](const Record& r) { return !r.epochs().empty(); });
    gateway_.SendStop(start.attempt(), true);
    const Record record = WaitForEnd(1);
    ASSERT_FALSE(record.checkpoints().empty()) << record.ended()->message();
    checkpoint = record.checkpoints().back().sha256();
  }
  v1::Start again = Sh(script, 2);
  again.set_checkpoint_sha256(checkpoint);
  const Record record = RunToEnd(again);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  EXPECT_EQ(record.epochs().back().epoch(), 2);
  EXPECT_EQ(record.epochs().back().val_accuracy(), 0.9);
  EXPECT_EQ(record.checkpoints().back().epoch(), 2);
  EXPECT_TRUE(record.checkpoints().back().end_of_epoch());
  EXPECT_THAT(gateway_.blob(record.checkpoints().back().sha256()), HasSubstr("weights of 2"));
}

TEST_F(ProgramRunnerTest, NamesThatAreNoTextHarmNothing) {
  const v1::Start start = Python(R"(
import os
env = os.environb
for name in (b"mod\xc3\xa8le.keras", b"\xff.pt"):
    open(env[b"TRAINYARD_OUTPUT_DIR"] + b"/" + name, "w").write("left")
open(env[b"TRAINYARD_CHECKPOINT_DIR"] + b"/\xff", "w").write("x")
open(env[b"TRAINYARD_METRICS_FILE"], "a").write('{"epoch": 1, "val_accuracy": 0.5}\n')
)");
  const Record record = RunToEnd(start);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  ASSERT_FALSE(record.checkpoints().empty());
  EXPECT_THAT(gateway_.blob(record.checkpoints().back().sha256()), HasSubstr("mod\xc3\xa8le"));
}

TEST_F(ProgramRunnerTest, AShellWaitsForWhatItRunsWhenItIsStopped) {
  const v1::Start start = StartOf({{.name = "train.py", .content = R"(
import os, signal, sys, time
def stop(*_):
    time.sleep(0.3)
    path = os.environ['TRAINYARD_CHECKPOINT_DIR']
    open(path + '/.x', 'w').write('middle')
    os.rename(path + '/.x', path + '/stopped')
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
print('epoch=1 val_accuracy=0.1\nepoch=2 val_accuracy=0.2')
while True: time.sleep(0.05)
)"}},
                                  {"sh", "-c", "cd . && python3 train.py; echo afterwards"});
  const auto agent = Agent();
  gateway_.SendStart(start);
  gateway_.WaitFor("an epoch", [](const Record& r) { return !r.epochs().empty(); });
  gateway_.SendStop(start.attempt(), true);
  const Record record = WaitForEnd(1);
  ASSERT_THAT(record.checkpoints(), SizeIs(1)) << record.ended()->message();
  EXPECT_THAT(gateway_.blob(record.checkpoints()[0].sha256()), HasSubstr("middle"));
}

TEST_F(ProgramRunnerTest, WhoDoesNotHeedTheStopIsKilled) {
  options_.term_grace = std::chrono::milliseconds(100);
  const v1::Start start =
      Sh("trap '' TERM\necho ready\necho '{\"epoch\": 1, \"val_accuracy\": 0.1}' "
         ">> $TRAINYARD_METRICS_FILE\nwhile :; do sleep 0.05; done");
  const auto agent = Agent();
  gateway_.SendStart(start);
  gateway_.WaitFor("an epoch", [](const Record& r) { return !r.epochs().empty(); });
  gateway_.SendStop(start.attempt(), true);
  EXPECT_EQ(WaitForEnd(1).ended()->outcome(), AttemptEnded::STOPPED);
}

TEST_F(ProgramRunnerTest, AnAbandonedProgramIsGoneAtOnceAndNothingIsReported) {
  const v1::Start start = Sh("echo $$ > " + folder_ / "pid" +
                             "\necho '{\"epoch\": 1, \"val_accuracy\": 0.1}' >> "
                             "$TRAINYARD_METRICS_FILE\nexec sleep 1000");
  const auto agent = Agent();
  gateway_.SendStart(start);
  gateway_.WaitFor("an epoch", [](const Record& r) { return !r.epochs().empty(); });
  gateway_.SendSuperseded(start.attempt());
  pid_t pid = 0;
  std::ifstream(folder_ / "pid") >> pid;
  ASSERT_GT(pid, 0);
  while (kill(pid, 0) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  v1::Start next = Sh("echo accuracy=0.5", 2);
  gateway_.SendStart(next);
  const Record record = WaitForEnd(2);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
}

TEST_F(ProgramRunnerTest, ABrokenCheckpointIsToldAsSuch) {
  v1::Start start = Sh(kTrain);
  start.set_checkpoint_sha256(gateway_.Store("this is no checkpoint"));
  EXPECT_EQ(RunToEnd(start).ended()->outcome(), AttemptEnded::CHECKPOINT_BROKEN);
  v1::Start gone = Sh(kTrain, 2);
  gone.set_checkpoint_sha256(std::string(64, 'a'));
  EXPECT_EQ(RunToEnd(gone).ended()->outcome(), AttemptEnded::CHECKPOINT_BROKEN);
}

TEST_F(ProgramRunnerTest, AProgramWithoutCheckpointsStartsOverAndNoEpochIsToldTwice) {
  v1::Start first = Sh(kTrain);
  const Record before = RunToEnd(first);
  v1::Start second =
      Sh("for e in 1 2 3 4 5; do echo \"{\\\"epoch\\\": $e, \\\"val_accuracy\\\": "
         "0.$e}\" >> $TRAINYARD_METRICS_FILE; done",
         2);
  second.set_checkpoint_sha256(before.checkpoints().back().sha256());
  const Record record = RunToEnd(second);
  EXPECT_THAT(record.epochs(), SizeIs(5));
  EXPECT_THAT(Notes(record), Contains(HasSubstr("reports epoch 1 again")));
}

}  // namespace
}  // namespace trainyard::program
