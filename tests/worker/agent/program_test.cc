// The program itself: signals, kill -9, and what it says with its exit code.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/worker/agent/fake_gateway.h"
#include "tests/worker/agent/test_data.h"
#include "tests/worker/agent/worker_process.h"

namespace trainyard::agent {
namespace {

using Record = FakeGateway::Record;
using v1::AttemptEnded;

using Program = WorkerProcess;

class ProgramTest : public testing::Test {
 protected:
  std::vector<std::string> Arguments(const std::string& backend = "cpu") {
    return {"--coordinator",  gateway_.address(), "--cache-dir", folder_ / "cache", "--work-dir",
            folder_ / "work", "--threads",        "1",           "--backend",       backend};
  }
  Record WaitForEnd(int64_t attempt) { return gateway_.WaitForEnd(attempt); }

  TestFolder folder_;
  FakeGateway gateway_;
  const std::string snapshot_ = gateway_.Store(SmallSnapshot());
};

TEST_F(ProgramTest, SigtermMeansACheckpointAGoodbyeAnd143) {
  Program worker(Arguments());
  gateway_.SendStart(SmallStart(SmallJob(100'000), snapshot_, 1));
  gateway_.WaitFor("an epoch", [](const Record& r) { return !r.epochs().empty(); });
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Wait(), 143);
  const Record record = gateway_.record();
  EXPECT_EQ(record.registered[0].launch(), 7);
  EXPECT_EQ(record.registered[0].pool(), "process");
  EXPECT_EQ(record.registered[0].device(), "cpu, 1 thread");
  ASSERT_NE(record.ended(), nullptr);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::STOPPED);
  EXPECT_EQ(record.checkpoints().back().step(), record.ended()->step());
  EXPECT_TRUE(record.checkpoints().back().final());
  EXPECT_THAT(record.goodbyes, testing::ElementsAre("SIGTERM"));
}

TEST_F(ProgramTest, AnIdleWorkerLeavesOnSigintWith130) {
  Program worker(Arguments());
  gateway_.WaitFor("a session", [](const Record& r) { return r.sessions_open == 1; });
  worker.Signal(SIGINT);
  EXPECT_EQ(worker.Wait(), 130);
  EXPECT_THAT(gateway_.record().goodbyes, testing::ElementsAre("SIGINT"));
}

TEST_F(ProgramTest, KilledWhileItUploadsAnotherWorkerEndsWithTheSameBytes) {
  const v1::JobSpec spec = SmallJob(200);
  std::string expected;
  {
    Program worker(Arguments());
    gateway_.SendStart(SmallStart(spec, snapshot_, 1));
    expected = WaitForEnd(1).checkpoints().back().sha256();
  }
  gateway_.WaitFor("its end", [](const Record& r) { return r.sessions_open == 0; });
  std::string from;
  for (int64_t attempt = 2; attempt <= 5; ++attempt) {
    const size_t known = gateway_.record().checkpoints().size();
    Program worker(Arguments());
    std::atomic<int> uploads{0};
    gateway_.Set([&](auto& b) {
      b.on_upload = [&](const std::string&) -> std::optional<grpc::Status> {
        if (++uploads > 1) worker.Signal(SIGKILL);
        return std::nullopt;
      };
    });
    v1::Start start = SmallStart(spec, snapshot_, attempt);
    start.set_checkpoint_sha256(from);
    gateway_.SendStart(start);
    // A worker so fast that it needs no second upload dies at its end.
    gateway_.WaitFor("death or end", [&](const Record& r) {
      return r.sessions_open == 0 || (r.ended() && r.ended()->attempt().attempt() == attempt);
    });
    worker.Signal(SIGKILL);
    EXPECT_EQ(worker.Wait(), -SIGKILL);
    gateway_.WaitFor("the session's end", [](const Record& r) { return r.sessions_open == 0; });
    gateway_.Set([](auto& b) { b.on_upload = nullptr; });
    const std::vector<v1::CheckpointReport> checkpoints = gateway_.record().checkpoints();
    if (checkpoints.size() > known) from = checkpoints.back().sha256();
  }
  Program worker(Arguments());
  v1::Start start = SmallStart(spec, snapshot_, 9);
  start.set_checkpoint_sha256(from);
  gateway_.SendStart(start);
  const Record record = WaitForEnd(9);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  const std::string found =
      record.checkpoints().empty() ? "" : record.checkpoints().back().sha256();
  EXPECT_EQ(found, expected);
}

TEST_F(ProgramTest, ItRegistersWithItsLabels) {
  std::vector<std::string> arguments = Arguments();
  arguments.insert(arguments.end(), {"--label", "site=berlin", "--label=gpu-type=h100.2"});
  Program worker(arguments);
  const Record record =
      gateway_.WaitFor("a session", [](const Record& r) { return r.sessions_open == 1; });
  const auto& labels = record.registered[0].labels();
  EXPECT_EQ(labels.size(), 2u);
  EXPECT_EQ(labels.at("site"), "berlin");
  EXPECT_EQ(labels.at("gpu-type"), "h100.2");
}

TEST_F(ProgramTest, LabelsThatNoJobCouldAskForAreRefused) {
  const std::string longest(63, 'x');
  for (const std::string& label :
       {std::string("site"), std::string("=berlin"), std::string("site="), std::string("a.b=c"),
        std::string("-a=b"), std::string("site=a b"), std::string("site=a=b"),
        std::string("site=\x1b[31m"), longest + "x=a", "a=" + longest + "x"}) {
    std::vector<std::string> arguments = Arguments();
    arguments.insert(arguments.end(), {"--label", label});
    EXPECT_EQ(Program(arguments).Wait(), 2) << label;
  }
  std::vector<std::string> twice = Arguments();
  twice.insert(twice.end(), {"--label", "a=1", "--label", "a=2"});
  EXPECT_EQ(Program(twice).Wait(), 2);
  std::vector<std::string> many = Arguments();
  for (int i = 0; i <= 32; ++i) many.push_back("--label=a" + std::to_string(i) + "=b");
  EXPECT_EQ(Program(many).Wait(), 2);
}

TEST_F(ProgramTest, WithoutACoordinatorItLeavesAfterItsLimitWith6) {
  gateway_.GoDown();
  std::vector<std::string> arguments = Arguments();
  arguments.insert(arguments.end(), {"--orphan-limit", "1"});
  Program worker(arguments);
  EXPECT_EQ(worker.Wait(), 6);
}

TEST_F(ProgramTest, WrongFlagsEndWith2) {
  for (const std::string flag : {"--no-such-flag", "--threads=-1", "--backend=abacus"}) {
    Program worker({flag});
    EXPECT_EQ(worker.Wait(), 2) << flag;
  }
}

TEST_F(ProgramTest, ASimdTargetThatTheProcessorHasNotEndsWith2AndItsName) {
  const std::string log = folder_ / "log";
  EXPECT_EQ(Program(Arguments(), TRAINYARD_WORKER, {"TRAINYARD_SIMD=mmx"}, log).Wait(), 2);
  std::stringstream said;
  said << std::ifstream(log).rdbuf();
  EXPECT_THAT(said.str(), testing::HasSubstr("TRAINYARD_SIMD: found 'mmx', expected one of "));
}

TEST_F(ProgramTest, ABrokenCudaModuleStopsOnlyWhoAsksForCuda) {
  const std::filesystem::path program = folder_ / "bin/trainyard-worker";
  std::filesystem::create_directories(program.parent_path());
  std::filesystem::copy_file(TRAINYARD_WORKER, program);
  std::ofstream(program.parent_path() / "libtrainyard_cuda.so") << "no library";
  EXPECT_EQ(Program(Arguments("cuda"), program).Wait(), 2);
  Program worker(Arguments("auto"), program);
  gateway_.WaitFor("a session", [](const Record& r) { return r.sessions_open == 1; });
  EXPECT_EQ(gateway_.record().registered.back().device(), "cpu, 1 thread");
  EXPECT_FALSE(gateway_.record().registered.back().gpu());
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Wait(), 143);
}

TEST_F(ProgramTest, AWorkFolderThatCannotBeMadeEndsWith1) {
  Program worker({"--work-dir", "/dev/null/work", "--cache-dir", folder_ / "cache"});
  EXPECT_EQ(worker.Wait(), 1);
}

}  // namespace
}  // namespace trainyard::agent
