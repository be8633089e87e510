// Attempts of programs behind a real agent and over real gRPC; the programs are real processes.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/worker/agent/agent_fixture.h"
#include "tests/worker/agent/test_data.h"
#include "worker/program/program_runner.h"

namespace trainyard::program {

using agent::FakeGateway;
using agent::TarEntry;
using v1::AttemptEnded;
using Record = FakeGateway::Record;

class ProgramRunnerTest : public testing::Test {
 protected:
  ProgramRunnerTest() : blobs_(agent::MakeChannel(gateway_.address())), cache_(folder_ / "cache") {
    options_.confinement = Confinement::kContainer;
    options_.work_folder = folder_ / "work";
    options_.output.log_bytes = 2'000;
  }

  // The first attempt of a job whose source is these files.
  v1::Start StartOf(const std::vector<TarEntry>& source, std::vector<std::string> command,
                    int64_t attempt = 1) {
    v1::Start start = agent::StartOf(attempt);
    start.set_snapshot_sha256(gateway_.Store(agent::Tar(source)));
    v1::JobSpec& spec = *start.mutable_spec();
    spec.set_name("a program");
    spec.mutable_target()->set_metric(v1::Target::VAL_ACCURACY);
    spec.mutable_target()->set_bound(0.8);
    spec.mutable_program()->set_framework("other");
    for (const std::string& word : command) spec.mutable_program()->add_command(word);
    return start;
  }
  v1::Start Sh(const std::string& script, int64_t attempt = 1) {
    return StartOf({{.name = "train.sh", .content = script}}, {"sh", "train.sh"}, attempt);
  }
  v1::Start Python(const std::string& program, int64_t attempt = 1) {
    return StartOf({{.name = "train.py", .content = program}}, {"python3", "train.py"}, attempt);
  }

  std::unique_ptr<agent::RunningAgent> Agent() {
    runner_ = std::make_unique<ProgramRunner>(options_, blobs_, cache_);
    return std::make_unique<agent::RunningAgent>(gateway_.address(), *runner_);
  }
  Record WaitForEnd(int64_t attempt) { return gateway_.WaitForEnd(attempt); }
  Record RunToEnd(const v1::Start& start) {
    const auto agent = Agent();
    gateway_.SendStart(start);
    return WaitForEnd(start.attempt().attempt());
  }

  static std::vector<std::string> Notes(const Record& record) {
    std::vector<std::string> notes;
    for (const v1::WorkerMessage& report : record.reports) {
      if (!report.program().note().empty()) notes.push_back(report.program().note());
    }
    return notes;
  }

  FakeGateway gateway_;
  agent::TestFolder folder_;
  agent::BlobClient blobs_;
  agent::BlobCache cache_;
  ProgramOptions options_;
  std::unique_ptr<ProgramRunner> runner_;
};

}  // namespace trainyard::program
