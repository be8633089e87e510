// Each command against a scripted coordinator: what is asked, what is printed, which exit code.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/sha.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/exit_code.h"
#include "cli/text.h"
#include "tests/cli/scripted_server.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Hex(const std::string& data) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(data.data()), data.size(), digest);
  std::string hex;
  char two[3];
  for (const unsigned char byte : digest) {
    std::snprintf(two, sizeof two, "%02x", byte);
    hex += two;
  }
  return hex;
}

std::string ReadFile(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

class CommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    server.jobs[7] = SampleJob();
    folder = fs::temp_directory_path() / ("trainyard-cli-" + std::to_string(getpid()));
    fs::create_directories(folder);
  }
  void TearDown() override { fs::remove_all(folder); }

  ScriptedServer server;
  fs::path folder;
};

TEST_F(CommandTest, JobListIsATable) {
  const Outcome outcome = RunCli(server, {"job", "list"});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_EQ(outcome.out,
            "JOB  STATE    NAME     SOURCE  COMMIT      BEST         AGE\n"
            "  7  running  fashion  shop    01234567  0.9123  5 min 00 s\n");
}

TEST_F(CommandTest, JobListAsJsonHasProtoNamesAndDefaults) {
  const Outcome outcome = RunCli(server, {"job", "list", "--output", "json", "--limit", "1"});
  EXPECT_EQ(outcome.code, kDone);
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("\"jobs\": ["), HasSubstr("\"id\": \"7\""),
                    HasSubstr("\"best_metric\": 0.9123"), HasSubstr("\"ended_ms\": \"0\""),
                    HasSubstr("\"JOB_STATE_RUNNING\"")));
}

TEST_F(CommandTest, EmptyListsSayWhatToDo) {
  server.jobs.clear();
  EXPECT_THAT(RunCli(server, {"job", "list"}).out, HasSubstr("trainyard submit"));
  EXPECT_THAT(RunCli(server, {"project", "list"}).out, HasSubstr("trainyard project add"));
  EXPECT_THAT(RunCli(server, {"model", "list"}).out, HasSubstr("No models yet"));
  EXPECT_THAT(RunCli(server, {"worker", "list"}).out, HasSubstr("No workers"));
}

TEST_F(CommandTest, JobShowEndsWithTrialsAndTheBestModel) {
  server.jobs[7] = FinishedJob(v1::JOB_STATE_SUCCEEDED);
  const Outcome outcome = RunCli(server, {"job", "show", "7"});
  EXPECT_EQ(outcome.code, kDone);
  EXPECT_EQ(outcome.out, R"(job 7  fashion  succeeded
  source     project shop, https://host/team/cnn.git, commit 0123456789ab
  target     val_accuracy >= 0.91
  budget     8 trials, 2 h 00 min of training
  started    2024-05-01 11:55:00, took 4 min 00 s
  reason     said by the coordinator

TRIAL  STATE      CHANGE AND REASON                           ACCURACY  EPOCHS  RESTARTS        TIME
    1  completed  as the spec says                              0.8712     2/2         1        41 s
                  conv 8, dense 10 (5,410 values)
    2  completed  network.layers[0].conv.filters 8 -> 16        0.9123     1/4         0  1 min 32 s
                  underfit: train accuracy 0.8790 and
                  validation accuracy 0.8712 are both low
                  10,810 values

  best model trial 2, epoch 1: validation accuracy 0.9123, test accuracy 0.9088 on 10,000 images
             conv 16, dense 10 (10,810 values)
  mixed up   10 shirt taken for coat, 3 coat taken for shirt
  lies in    /var/lib/trainyard, named by its SHA-256:
             ONNX 120.6 KiB, aa11
             safetensors 117.2 KiB, bb22
  get it     trainyard model get 7 -o best.onnx
)");
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(Width(line), 100) << line;
}

TEST_F(CommandTest, JobShowOfAWaitingJobShowsTheProposal) {
  server.jobs[7].set_state(v1::JOB_STATE_WAITING);
  *server.jobs[7].mutable_proposal() = SampleJob().trials(1).tweak();
  EXPECT_THAT(RunCli(server, {"job", "show", "7"}).out,
              AllOf(HasSubstr("proposal   network.layers[0].conv.filters 8 -> 16"),
                    HasSubstr("trainyard tweak 7, trainyard job finish 7 or cancel 7")));
  server.jobs[7].clear_proposal();
  EXPECT_THAT(RunCli(server, {"job", "show", "7"}).out, HasSubstr("tweak 7 --set KEY=VALUE, "));
}

TEST_F(CommandTest, NamesFromElsewhereCannotReachTheTerminal) {
  v1::Job& job = server.jobs[7];
  job = FinishedJob(v1::JOB_STATE_FAILED);
  const std::string evil = "a\x1b]0;owned\x07\x1b[2Jb\rc\nd";
  job.set_name(evil);
  job.set_source(evil);
  job.set_project(evil);
  job.set_reason(evil);
  job.mutable_trials(0)->set_description(evil);
  job.mutable_trials(1)->mutable_tweak()->set_reason(evil);
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"job", "show", "7"}, {"job", "list"}}) {
    const Outcome outcome = RunCli(server, arguments);
    EXPECT_THAT(outcome.out,
                AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\r")), Not(HasSubstr("\x07"))));
    EXPECT_THAT(outcome.out, HasSubstr("ab c d"));
  }
  EXPECT_THAT(RunCli(server, {"job", "show", "7", "--output=json"}).out, Not(HasSubstr("\x1b")));
}

TEST_F(CommandTest, CancelFinishPauseAndResumeAnswerWithTheJob) {
  for (const auto& [command, call] : {std::pair{"cancel", "CancelJob"},
                                      {"finish", "FinishJob"},
                                      {"pause", "PauseJob"},
                                      {"resume", "ResumeJob"}}) {
    const Outcome outcome = RunCli(server, {"job", command, "7"});
    EXPECT_EQ(outcome.code, kDone) << outcome.err;
    EXPECT_EQ(outcome.out, "job 7 fashion running\n");
    EXPECT_THAT(server.calls, Contains(call));
  }
}

TEST_F(CommandTest, LogsAreCleanedAcrossChunks) {
  server.logs = {"step 1\n\x1b[3", "1mred\x1b[0m 10%\r20", "%\nend"};
  EXPECT_EQ(RunCli(server, {"job", "logs", "7"}).out, "step 1\nred 10%\n20%\nend");
  EXPECT_EQ(RunCli(server, {"job", "logs", "7", "--output", "json"}).out.substr(0, 21),
            "{\"text\":\"step 1\\n\\u00");
}

TEST_F(CommandTest, ALineWithoutEndIsPassedOnInPieces) {
  server.logs.assign(64, std::string(1 << 20, 'x'));
  const Outcome outcome = RunCli(server, {"job", "logs", "7"});
  EXPECT_EQ(outcome.code, kDone);
  EXPECT_EQ(outcome.out.size(), size_t{64} << 20);
}

TEST_F(CommandTest, AnAbsurdlyLongNameIsCut) {
  server.jobs[7].set_name(std::string(3 << 20, 'n'));
  const Outcome outcome = RunCli(server, {"job", "list"});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_LT(outcome.out.size(), 2000u);
  EXPECT_THAT(outcome.out, HasSubstr("MiB more)"));
}

TEST_F(CommandTest, TweakSendsOverridesAndShowsChanges) {
  *server.tweaked.mutable_tweak() = SampleJob().trials(1).tweak();
  const Outcome outcome = RunCli(
      server, {"tweak", "7", "--set", "train.lr=0.01", "--set", "train.epochs=3", "--dry-run"});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_EQ(outcome.out,
            "Nothing changed; job 7 would go on with:\n"
            "KEY                             FROM  TO\n"
            "network.layers[0].conv.filters  8     16\n"
            "finding   underfit\n"
            "reason    train accuracy 0.8790 and validation accuracy 0.8712 are both low\n"
            "expected  more capacity\n");
  ASSERT_EQ(server.tweaks.size(), 1u);
  EXPECT_TRUE(server.tweaks[0].dry_run());
  EXPECT_THAT(server.tweaks[0].overrides(), ElementsAre("train.lr=0.01", "train.epochs=3"));
}

TEST_F(CommandTest, ProjectsAreAddedListedAndRemoved) {
  const Outcome added = RunCli(
      server, {"project", "add", "https://host/a.git", "--name", "shop", "--branch", "main"});
  EXPECT_EQ(added.out, "project shop watches https://host/a.git, branch main\n");
  v1::Project project;
  project.set_name("shop");
  project.set_url("https://host/a.git");
  project.set_last_error("trainyard.yaml:3:1: unknown key");
  server.projects = {project};
  EXPECT_EQ(RunCli(server, {"project", "list"}).out,
            "NAME  URL                 BRANCH     LAST COMMIT  SEEN  PROBLEM\n"
            "shop  https://host/a.git  (default)  -            -     trainyard.yaml:3:1: unknown "
            "key\n");
  server.projects[0].set_last_seen_ms(1);
  server.projects[0].set_last_seen_by("hook github");
  EXPECT_THAT(RunCli(server, {"project", "list"}).out, HasSubstr(" ago, hook github  "));
  EXPECT_EQ(RunCli(server, {"project", "remove", "shop"}).out, "project shop removed\n");
  EXPECT_THAT(server.calls, Contains("RemoveProject shop"));
}

TEST_F(CommandTest, AProjectsPathIsMadeAbsolute) {
  RunCli(server, {"project", "add", ".", "--name", "here"});
  ASSERT_EQ(server.added.size(), 1u);
  EXPECT_EQ(server.added[0].url()[0], '/');
}

TEST_F(CommandTest, WorkersAreListedAndDrainedByNumberOrName) {
  v1::Worker worker;
  worker.set_id(3);
  worker.set_name("gpu-host/4711");
  worker.set_pool("process");
  worker.set_device("cpu, 2 threads");
  worker.set_state(v1::Worker::BUSY);
  worker.set_job(7);
  worker.set_trial(2);
  worker.set_attempt(1);
  server.workers = {worker};
  EXPECT_EQ(RunCli(server, {"worker", "list"}).out,
            "WORKER  NAME           POOL     DEVICE          STATE  AT WORK ON\n"
            "     3  gpu-host/4711  process  cpu, 2 threads  busy   job 7, trial 2\n");
  EXPECT_EQ(RunCli(server, {"worker", "drain", "3"}).out, "worker 3 (gpu-host/4711) draining\n");
  EXPECT_EQ(RunCli(server, {"worker", "drain", "gpu-host/4711"}).code, kDone);
  const Outcome unknown = RunCli(server, {"worker", "drain", "4"});
  EXPECT_EQ(unknown.code, kUsage);
  EXPECT_EQ(unknown.err, "trainyard: no worker \"4\"; there are 3 (gpu-host/4711)\n");
}

TEST_F(CommandTest, ModelGetWritesTheFileWholeAndVerified) {
  const std::string content = "the model's bytes, in several pieces";
  server.models = {FinishedJob(v1::JOB_STATE_SUCCEEDED).model()};
  server.models[0].set_onnx_sha256(Hex(content));
  server.model_files["onnx"] = content;
  const std::string path = (folder / "best.onnx").string();
  const Outcome outcome = RunCli(server, {"model", "get", "7", "-o", path});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_EQ(ReadFile(path), content);
  EXPECT_THAT(outcome.out, HasSubstr("validation accuracy 0.9123, test accuracy 0.9088"));
  EXPECT_THAT(RunCli(server, {"model", "list"}).out,
              AllOf(HasSubstr("0.9088"), HasSubstr("met"), HasSubstr("10,810")));
}

TEST_F(CommandTest, ModelGetFillsAFolderWithAllFiles) {
  v1::Model& model = *server.jobs[7].mutable_model();
  model.set_onnx_sha256(Hex("for others"));
  for (const char* name : {"model.keras", "report/curve.png"}) {
    v1::ModelFile& file = *model.add_files();
    file.set_name(name);
    file.set_sha256(Hex(name));
    server.model_files[name] = name;
  }
  server.model_files["onnx"] = "for others";
  server.models = {model};
  const std::string into = (folder / "models").string() + "/";
  const Outcome outcome = RunCli(server, {"model", "get", "7", "-o", into});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_EQ(ReadFile(into + "best.onnx"), "for others");
  EXPECT_EQ(ReadFile(into + "model.keras"), "model.keras");
  EXPECT_EQ(ReadFile(into + "report/curve.png"), "report/curve.png");
  for (const char* name : {"../outside", "/outside", "a/../../outside", ""}) {
    server.jobs[7].mutable_model()->mutable_files(0)->set_name(name);
    const Outcome refused = RunCli(server, {"model", "get", "7", "-o", into});
    EXPECT_EQ(refused.code, kUnexpected) << name;
    EXPECT_THAT(refused.err, HasSubstr("would lie outside of"));
  }
  server.jobs[7].clear_model();
  EXPECT_THAT(RunCli(server, {"model", "get", "7", "-o", into}).err,
              HasSubstr("job 7 has published no model"));
}

TEST_F(CommandTest, ModelGetLeavesNothingOfAnAlteredOrBrokenDownload) {
  server.models = {FinishedJob(v1::JOB_STATE_SUCCEEDED).model()};
  server.models[0].set_safetensors_sha256(Hex("something else"));
  server.model_files["safetensors"] = "altered";
  const std::string path = (folder / "best.safetensors").string();
  std::ofstream(path) << "the one before";
  const Outcome altered = RunCli(server, {"model", "get", "7", "-o", path});
  EXPECT_EQ(altered.code, kUnexpected);
  EXPECT_THAT(altered.err, AllOf(HasSubstr(Hex("altered")), HasSubstr(Hex("something else"))));
  server.errors["GetModel"] = {grpc::StatusCode::UNAVAILABLE, "gone"};
  EXPECT_EQ(RunCli(server, {"model", "get", "7", "-o", path}).code, kUnreachable);
  EXPECT_EQ(ReadFile(path), "the one before");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1)
      << "a temporary file was left behind";
}

TEST_F(CommandTest, ModelGetFindsAFileOfAProgramByItsEndingOrItsName) {
  const std::string content = "weights";
  v1::Job job = FinishedJob(v1::JOB_STATE_SUCCEEDED);
  server.models = {job.model()};
  v1::Model& model = server.models[0];
  model.clear_onnx_sha256();
  model.clear_safetensors_sha256();
  for (const char* name : {"a/old.h5", "model.h5", "curve.png"}) {
    v1::ModelFile& file = *model.add_files();
    file.set_name(name);
    file.set_sha256(Hex(content));
  }
  server.model_files = {{"h5", content}, {"a/old.h5", content}, {"png", "altered"}};
  const std::string path = (folder / "best.h5").string();
  EXPECT_EQ(RunCli(server, {"model", "get", "7", "-o", path}).code, kDone);
  EXPECT_EQ(ReadFile(path), content);
  EXPECT_EQ(RunCli(server, {"model", "get", "7", "-o", path, "--file", "a/old.h5"}).code, kDone);
  EXPECT_EQ(RunCli(server, {"model", "get", "7", "-o", (folder / "x.png").string()}).code,
            kUnexpected);
  const Outcome none = RunCli(server, {"model", "get", "7", "-o", (folder / "x.onnx").string()});
  EXPECT_EQ(none.code, kUsage);
  EXPECT_THAT(none.err, HasSubstr("expected one of a/old.h5, model.h5, curve.png"));
}

TEST_F(CommandTest, ModelGetRefusesNamesThatCannotBe) {
  server.models = {FinishedJob(v1::JOB_STATE_SUCCEEDED).model()};
  for (const std::string& bad :
       {(folder / "best.h5").string(), folder.string(), std::string("/no/such/folder/best.onnx"),
        std::string(".onnx"), std::string("")}) {
    EXPECT_EQ(RunCli(server, {"model", "get", "7", "-o", bad}).code, kUsage) << bad;
  }
}

TEST_F(CommandTest, VersionTellsBothOrThatThereIsNoCoordinator) {
  EXPECT_THAT(RunCli(server, {"version"}).out, HasSubstr("coordinator 9.9.9 at 127.0.0.1:"));
  EXPECT_THAT(RunCli(server, {"version", "--output", "json"}).out,
              HasSubstr("\"coordinator\":{\"version\":\"9.9.9\""));
  server.Stop();
  EXPECT_THAT(RunCli(server, {"version"}).out, HasSubstr("no coordinator at"));
  EXPECT_THAT(RunCli(server, {"version", "--output", "json"}).out,
              HasSubstr("\"coordinator\":null"));
}

TEST_F(CommandTest, TheServersTextIsPrintedAsItIsButHarmless) {
  server.errors["TweakJob"] = {
      grpc::StatusCode::INVALID_ARGUMENT,
      "trainyard.yaml:3:5: found \"\x1b[31mfilterz\", expected filters\nsecond problem"};
  const Outcome outcome = RunCli(server, {"tweak", "7"});
  EXPECT_EQ(outcome.code, kUsage);
  EXPECT_EQ(outcome.err,
            "trainyard: trainyard.yaml:3:5: found \"filterz\", expected filters\nsecond problem\n");
}

TEST_F(CommandTest, ErrorsOfTheServerBecomeExitCodes) {
  const std::pair<grpc::StatusCode, int> expected[] = {
      {grpc::StatusCode::NOT_FOUND, kUsage},
      {grpc::StatusCode::FAILED_PRECONDITION, kUsage},
      {grpc::StatusCode::UNAVAILABLE, kUnreachable},
      {grpc::StatusCode::DEADLINE_EXCEEDED, kTimeout},
      {grpc::StatusCode::INTERNAL, kUnexpected},
      {grpc::StatusCode::UNIMPLEMENTED, kUnexpected}};
  for (const auto& [status, code] : expected) {
    server.errors["TweakJob"] = {status, "so it is"};
    EXPECT_EQ(RunCli(server, {"tweak", "7"}).code, code) << status;
  }
}

TEST_F(CommandTest, AnUnknownJobIsBadInput) {
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"job", "show", "8"}, {"job", "cancel", "8"}, {"watch", "8"}, {"wait", "8"}}) {
    const Outcome outcome = RunCli(server, arguments);
    EXPECT_EQ(outcome.code, kUsage) << arguments[0];
    EXPECT_EQ(outcome.err, "trainyard: no job 8\n");
  }
}

TEST_F(CommandTest, UnreachableNamesTheAddressAndHowToStartOne) {
  server.Stop();
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"job", "list"},
                                             {"job", "logs", "7"},
                                             {"watch"},
                                             {"watch", "7"},
                                             {"wait", "7"},
                                             {"tweak", "7"},
                                             {"submit", "https://host/a.git"}}) {
    const Outcome outcome = RunCli(server, arguments);
    EXPECT_EQ(outcome.code, kUnreachable) << arguments[0];
    EXPECT_THAT(outcome.err, AllOf(HasSubstr(server.address()), HasSubstr("trainyard up")));
  }
}

TEST_F(CommandTest, WrongUsageIsToldWithTheCommandsHelp) {
  const std::vector<std::vector<std::string>> wrong = {{},
                                                       {"jobs"},
                                                       {"job"},
                                                       {"job", "shwo", "7"},
                                                       {"job", "show"},
                                                       {"job", "show", "seven"},
                                                       {"job", "show", "7", "8"},
                                                       {"job", "list", "--limit", "0"},
                                                       {"job", "list", "--limit", "many"},
                                                       {"job", "list", "--output", "xml"},
                                                       {"tweak", "7", "--set"},
                                                       {"tweak", "7", "--set", "lr"},
                                                       {"wait", "7", "--timeout", "soon"},
                                                       {"wait", "7", "--for", "ever"},
                                                       {"wait", "7", "--reconnect", "-1s"},
                                                       {"watch", "0"},
                                                       {"project", "add", "https://host/a.git"},
                                                       {"submit"},
                                                       {"submit", ".", "--wait", "--watch"},
                                                       {"submit", ".", "--timeout", "1h"},
                                                       {"up", "--workers", "-1"},
                                                       {"up", "--listen", "nonsense:port"},
                                                       {"--nonsense"}};
  for (const auto& arguments : wrong) {
    const Outcome outcome = RunCli(server, arguments);
    EXPECT_EQ(outcome.code, kUsage) << ::testing::PrintToString(arguments) << outcome.out;
    EXPECT_EQ(outcome.out, "") << ::testing::PrintToString(arguments);
    EXPECT_THAT(outcome.err, ::testing::StartsWith("trainyard: "))
        << ::testing::PrintToString(arguments);
  }
  EXPECT_THAT(RunCli(server, {"jbo"}).err, HasSubstr("did you mean job?"));
  EXPECT_THAT(RunCli(server, {"job", "list", "--limit", "0"}).err,
              HasSubstr("See `trainyard job list --help`."));
  EXPECT_EQ(RunCli("http://x", {"job", "list"}, Style{}).code, kUsage);
}

}  // namespace
}  // namespace trainyard::cli
