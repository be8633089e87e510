// `import`: what goes up, and what comes down.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/sha.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/exit_code.h"
#include "tests/cli/scripted_server.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Hash(const std::string& data) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(data.data()), data.size(), digest);
  std::string hex;
  for (const unsigned char byte : digest) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

std::string Read(const fs::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

class ImportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server.submitted.set_job(7);
    v1::Job job = FinishedJob(v1::JOB_STATE_SUCCEEDED);
    v1::Model& model = *job.mutable_model();
    model.clear_onnx_sha256();
    model.clear_safetensors_sha256();
    server.model_files = {{"trainyard.yaml", "name: shoes\n"},
                          {"translation.txt", "Conv2D 'first' -> conv\n"},
                          {"weights.safetensors", "tensors"}};
    for (const auto& [name, data] : server.model_files) {
      v1::ModelFile* file = model.add_files();
      file->set_name(name);
      file->set_sha256(Hash(data));
      file->set_bytes(static_cast<int64_t>(data.size()));
    }
    server.models = {model};
    server.jobs[7] = job;
    for (const v1::Event& event : SampleEvents(v1::JOB_STATE_SUCCEEDED)) server.Tell(event);
    folder = fs::temp_directory_path() / ("trainyard-import-" + std::to_string(getpid()));
    fs::create_directories(folder / "source");
    std::ofstream(folder / "source/shoes.keras") << "a model";
    std::ofstream(folder / "source/train.py") << "a program";
    std::ofstream(folder / "source/secret.txt") << "a neighbour";
    std::ofstream(folder / "source/.gitignore") << "*.keras\n";
  }
  void TearDown() override { fs::remove_all(folder); }

  Outcome Import(const std::string& file, const std::string& into) {
    return RunCli(server, {"import", folder / "source" / file, "-o", folder / into});
  }

  ScriptedServer server;
  fs::path folder;
};

TEST_F(ImportTest, AModelGoesUpAloneAndItsSpecAndWeightsComeDown) {
  const Outcome outcome = Import("shoes.keras", "out");
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  ASSERT_EQ(server.submits.size(), 1u);
  EXPECT_EQ(server.submits[0].import_path(), "shoes.keras");
  EXPECT_THAT(server.upload, AllOf(HasSubstr("a model"), Not(HasSubstr("a neighbour"))));
  EXPECT_EQ(Read(folder / "out/trainyard.yaml"), "name: shoes\n");
  EXPECT_EQ(Read(folder / "out/weights.safetensors"), "tensors");
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("Conv2D 'first' -> conv"), HasSubstr("trainyard submit"),
                                 HasSubstr((folder / "out/weights.safetensors").string())));
}

TEST_F(ImportTest, OfAProgramItsFolderGoesUp) {
  EXPECT_EQ(Import("train.py", "out").code, kDone);
  EXPECT_EQ(server.submits[0].import_path(), "train.py");
  EXPECT_THAT(server.upload, AllOf(HasSubstr("a program"), HasSubstr("a neighbour")));
}

TEST_F(ImportTest, WhatCannotBeTranslatedEndsAsAFailedJob) {
  server.jobs[7] = FinishedJob(v1::JOB_STATE_FAILED);
  const Outcome outcome = Import("shoes.keras", "out");
  EXPECT_EQ(outcome.code, kJobFailed);
  EXPECT_THAT(outcome.out, HasSubstr("said by the coordinator"));
  EXPECT_FALSE(fs::exists(folder / "out/trainyard.yaml"));
}

TEST_F(ImportTest, BadInputIsRefusedBeforeAnythingIsSent) {
  std::ofstream(folder / "source/model.pt") << "x";
  EXPECT_THAT(Import("model.pt", "out").err, HasSubstr(".keras, .h5"));
  EXPECT_THAT(Import("absent.keras", "out").err, HasSubstr("readable file"));
  const Outcome taken = RunCli(
      server, {"import", folder / "source/shoes.keras", "-o", folder / "source/shoes.keras"});
  EXPECT_THAT(taken.err, HasSubstr("cannot be made"));
  fs::create_directories(folder / "mine");
  std::ofstream(folder / "mine/trainyard.yaml") << "name: mine\n";
  const Outcome mine = Import("shoes.keras", "mine");
  EXPECT_EQ(mine.code, kUsage);
  EXPECT_THAT(mine.err, HasSubstr("already"));
  EXPECT_EQ(Read(folder / "mine/trainyard.yaml"), "name: mine\n");
  EXPECT_TRUE(server.submits.empty());
}

}  // namespace
}  // namespace trainyard::cli
