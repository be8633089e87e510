// `submit`: what is sent for folders, revisions and URLs.
#include <archive.h>
#include <archive_entry.h>
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
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

// Path and content of each file in a tar archive.
std::map<std::string, std::string> Unpack(const std::string& data) {
  std::map<std::string, std::string> files;
  archive* tar = archive_read_new();
  archive_read_support_format_tar(tar);
  EXPECT_EQ(archive_read_open_memory(tar, data.data(), data.size()), ARCHIVE_OK)
      << archive_error_string(tar);
  archive_entry* entry = nullptr;
  while (archive_read_next_header(tar, &entry) == ARCHIVE_OK) {
    std::string content(static_cast<size_t>(archive_entry_size(entry)), '\0');
    EXPECT_EQ(archive_read_data(tar, content.data(), content.size()),
              static_cast<la_ssize_t>(content.size()));
    files[archive_entry_pathname(entry)] = content;
  }
  archive_read_free(tar);
  return files;
}

class SubmitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server.submitted.set_job(7);
    server.jobs[7] = FinishedJob(v1::JOB_STATE_BELOW_TARGET);
    folder = fs::temp_directory_path() / ("trainyard-submit-" + std::to_string(getpid()));
    fs::create_directories(folder);
    std::ofstream(folder / "trainyard.yaml") << "name: fashion\n";
  }
  void TearDown() override { fs::remove_all(folder); }

  ScriptedServer server;
  fs::path folder;
};

TEST_F(SubmitTest, AFolderIsUploadedInPiecesAndNamed) {
  std::ofstream(folder / "weights.bin") << std::string((5 << 20) + 3, 'w');
  const Outcome outcome = RunCli(server, {"submit", folder});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_EQ(outcome.out, "job 7\nLook on with `trainyard watch 7`.\n");
  const auto files = Unpack(server.upload);
  EXPECT_EQ(files.size(), 2u);
  EXPECT_EQ(files.at("trainyard.yaml"), "name: fashion\n");
  EXPECT_EQ(files.at("weights.bin").size(), size_t{(5 << 20) + 3});
  EXPECT_LE(server.largest_piece, size_t{1} << 20);
  ASSERT_EQ(server.submits.size(), 1u);
  EXPECT_EQ(server.submits[0].snapshot_sha256(), "5eed");
  EXPECT_EQ(server.submits[0].source(), folder.string());
  EXPECT_EQ(server.submits[0].commit(), "");
}

TEST_F(SubmitTest, FlagsBecomeTheRequest) {
  const Outcome outcome =
      RunCli(server, {"submit", "--set", "train.lr=0.05", "--set=name=two words",
                      "https://host/team/cnn.git@v1", "--target", "val_loss <= 0.3", "--budget",
                      "trials=8,time=2h", "--manual", "--again", "--output", "json"});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_EQ(outcome.out, "{\n \"job\": \"7\",\n \"existed\": false\n}\n");
  ASSERT_EQ(server.submits.size(), 1u);
  const v1::SubmitJobRequest& request = server.submits[0];
  EXPECT_EQ(request.url(), "https://host/team/cnn.git");
  EXPECT_EQ(request.revision(), "v1");
  EXPECT_EQ(request.target(), "val_loss <= 0.3");
  EXPECT_TRUE(request.manual());
  EXPECT_TRUE(request.again());
  EXPECT_THAT(request.overrides(),
              ElementsAre("budget.trials=8", "budget.time=2h", "train.lr=0.05", "name=two words"));
}

TEST_F(SubmitTest, ACutIsTriedAgainWithTheSameRequestId) {
  server.fail_first["SubmitJob"] = 2;
  EXPECT_EQ(RunCli(server, {"submit", "https://host/a.git"}).code, kDone);
  ASSERT_EQ(server.submits.size(), 3u);
  EXPECT_NE(server.submits[0].request_id(), "");
  EXPECT_EQ(server.submits[0].request_id(), server.submits[2].request_id());
  RunCli(server, {"submit", "https://host/a.git"});
  EXPECT_NE(server.submits[3].request_id(), server.submits[0].request_id());
}

TEST_F(SubmitTest, AKnownRequestSaysSo) {
  server.submitted.set_existed(true);
  EXPECT_THAT(RunCli(server, {"submit", "https://host/a.git"}).out,
              HasSubstr("--again makes another"));
}

TEST_F(SubmitTest, WaitAndWatchEndWithTheJobsCode) {
  for (const v1::Event& event : SampleEvents(v1::JOB_STATE_BELOW_TARGET)) server.Tell(event);
  const Outcome waited = RunCli(server, {"submit", folder, "--wait", "--output", "json"});
  EXPECT_EQ(waited.code, kBelowTarget) << waited.err;
  EXPECT_THAT(waited.out, ::testing::StartsWith("{\n \"id\": \"7\""));
  const Outcome watched = RunCli(server, {"submit", folder, "--watch"});
  EXPECT_EQ(watched.code, kBelowTarget) << watched.err;
  EXPECT_THAT(watched.out, AllOf(HasSubstr("job 7\n"), HasSubstr("restart"), HasSubstr("TRIAL")));
}

TEST_F(SubmitTest, AnotherSpecTakesThePlaceOfTheFolders) {
  const fs::path spec = folder / "small.yaml";
  std::ofstream(spec) << "name: small\n";
  EXPECT_EQ(RunCli(server, {"submit", folder, "-f", spec}).code, kDone);
  EXPECT_THAT(Unpack(server.upload), ElementsAre(Pair("small.yaml", "name: small\n"),
                                                 Pair("trainyard.yaml", "name: small\n")));
  EXPECT_EQ(RunCli(server, {"submit", "https://host/a.git", "-f", spec}).code, kUsage);
  EXPECT_EQ(RunCli(server, {"submit", folder, "-f", "/no/such/file"}).code, kUsage);
}

TEST_F(SubmitTest, BadInputIsRefusedBeforeAnythingIsSent) {
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"submit", "/no/such/folder"},
           {"submit", folder / "trainyard.yaml"},
           {"submit", folder.string() + "@v1"},
           {"submit", folder, "--set", "lr"},
           {"submit", folder, "--set", "$(reboot)=1"},
           {"submit", folder, "--budget", "trials=many"},
           {"submit", folder, "--budget", "money=3"},
           {"submit", "git://host/\x1b[31m"},
           {"submit", folder, "--target", std::string(300, '9')}}) {
    const Outcome outcome = RunCli(server, arguments);
    EXPECT_EQ(outcome.code, kUsage) << ::testing::PrintToString(arguments);
    EXPECT_THAT(outcome.err, ::testing::Not(HasSubstr("\x1b"))) << outcome.err;
  }
  EXPECT_TRUE(server.calls.empty());
}

TEST_F(SubmitTest, ARefusedUploadTellsTheServersWords) {
  server.errors["UploadSource"] = {grpc::StatusCode::INVALID_ARGUMENT,
                                   "the folder has no trainyard.yaml"};
  const Outcome outcome = RunCli(server, {"submit", folder});
  EXPECT_EQ(outcome.code, kUsage);
  EXPECT_EQ(outcome.err, "trainyard: the folder has no trainyard.yaml\n");
  EXPECT_TRUE(server.submits.empty());
}

TEST_F(SubmitTest, TooMuchIsRefusedNamingTheLargestFiles) {
  std::ofstream(folder / "small.txt") << "x";
  for (const auto& [name, size] : {std::pair{"big.npz", 200 << 20}, {"other.bin", 100 << 20}}) {
    std::ofstream(folder / name).close();
    fs::resize_file(folder / name, static_cast<uintmax_t>(size));  // sparse
  }
  const Outcome outcome = RunCli(server, {"submit", folder});
  EXPECT_EQ(outcome.code, kUsage);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("300.0 MiB, more than the 256.0 MiB"),
                                 HasSubstr("200.0 MiB  big.npz"), HasSubstr("100.0 MiB  other.bin"),
                                 HasSubstr(".gitignore")));
  EXPECT_TRUE(server.calls.empty());
}

}  // namespace
}  // namespace trainyard::cli
