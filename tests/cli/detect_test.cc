// `detect`: what is asked, and how the answer is told to people and programs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "cli/exit_code.h"
#include "tests/cli/scripted_server.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

class DetectTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder = fs::temp_directory_path() / ("trainyard-detect-" + std::to_string(getpid()));
    fs::create_directories(folder);
    std::ofstream(folder / "train.py") << "import keras\n";
    v1::Detection& found = server.detected;
    found.set_runtime("program-keras");
    for (const char* word : {"python3", "train.py", "--title", "my cnn"}) {
      found.mutable_program()->add_command(word);
    }
    found.mutable_program()->set_cnn(true);
    found.mutable_program()->set_takes_changes(true);
    found.set_gpu(true);
    found.add_datasets("fashion_mnist");
    v1::Evidence& why = *found.add_evidence();
    why.set_file("train.py");
    why.set_line(15);
    why.set_text("model.fit(x, y) \x1b[31m");
    why.set_shows("trains");
    found.add_warnings("train.py:1: cv2, which the image program-keras lacks");
  }
  void TearDown() override { fs::remove_all(folder); }

  ScriptedServer server;
  fs::path folder;
};

TEST_F(DetectTest, AFolderIsSentAndTheAnswerTold) {
  const Outcome outcome = RunCli(server, {"detect", folder});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  ASSERT_EQ(server.detects.size(), 1u);
  EXPECT_EQ(server.detects[0].snapshot_sha256(), "5eed");
  EXPECT_EQ(outcome.out,
            "runtime   program-keras\n"
            "command   python3 train.py --title 'my cnn'\n"
            "CNN       yes\n"
            "changes   taken from outside: it can be tuned\n"
            "GPU       wanted, if there is one\n"
            "data sets fashion_mnist\n"
            "\n"
            "WHY          LINE              SHOWS\n"
            "train.py:15  model.fit(x, y)   trains\n"
            "\n"
            "warning: train.py:1: cv2, which the image program-keras lacks\n");
}

TEST_F(DetectTest, ARepositoryIsNamedByItsUrl) {
  const Outcome outcome = RunCli(server, {"detect", "https://host/team/cnn.git@v1"});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  ASSERT_EQ(server.detects.size(), 1u);
  EXPECT_EQ(server.detects[0].url(), "https://host/team/cnn.git");
  EXPECT_EQ(server.detects[0].revision(), "v1");
}

TEST_F(DetectTest, ProgramsGetTheMessage) {
  const Outcome outcome = RunCli(server, {"detect", folder, "--output", "json"});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("\"runtime\": \"program-keras\""),
                                 HasSubstr("\"takes_changes\": true"), HasSubstr("\"line\": 15")));
}

TEST_F(DetectTest, WhatIsNotClearIsBadInputAndKeepsItsLines) {
  server.errors["Detect"] = {grpc::StatusCode::INVALID_ARGUMENT,
                             "found 2 programs that train:\n  a.py\n  b.py"};
  const Outcome outcome = RunCli(server, {"detect", folder});
  EXPECT_EQ(outcome.code, kUsage);
  EXPECT_THAT(outcome.err, HasSubstr("found 2 programs that train:\n  a.py\n  b.py"));
}

TEST_F(DetectTest, ACoordinatorThatWasNamedIsTheOnlyOneAsked) {
  server.Stop();
  EXPECT_EQ(RunCli(server, {"detect", folder}).code, kUnreachable);
}

TEST_F(DetectTest, WrongUsageIsToldApart) {
  EXPECT_EQ(RunCli(server, {"detect"}).code, kUsage);
  EXPECT_EQ(RunCli(server, {"detect", folder / "nowhere"}).code, kUsage);
  EXPECT_EQ(RunCli(server, {"detect", folder, "more"}).code, kUsage);
}

}  // namespace
}  // namespace trainyard::cli
