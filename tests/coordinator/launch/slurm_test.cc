// Shows with a real Slurm that one launch is one job, however often it is asked for, that every end
// is told once and with its cause, and that nothing leaks into a job or out of a value.
#include <signal.h>
#include <sys/stat.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/coordinator/launch/slurm_fixture.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(SlurmLauncherTest, AStartAndAnExitAreToldWithTheCode) {
  auto launcher = Open(Script("echo out; echo err >&2; exit 7"));
  ASSERT_TRUE(launcher->queues());
  const auto handle = launcher->Launch({.launch = 3});
  ASSERT_TRUE(handle.ok()) << handle.status();
  EXPECT_EQ(NextStart(), 3);
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 3);
  EXPECT_EQ(exit->exit_code, 7);
  EXPECT_EQ(exit->signal, 0);
  EXPECT_FALSE(exit->unknown);
  EXPECT_EQ(exit->cause, "exit code 7");
  EXPECT_EQ(Read(launcher->LogPath(3)), "out\nerr\n");
}

TEST_F(SlurmLauncherTest, AWorkerThatIsDoneIsToldWithZero) {
  auto launcher = Open(Script("exit 0"));
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 0);
}

TEST_F(SlurmLauncherTest, ASignalIsToldByName) {
  auto launcher = Open(Script("kill -KILL $$"));
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_EQ(exit->exit_code, -1);
  EXPECT_FALSE(exit->out_of_memory);
  EXPECT_EQ(exit->cause, "killed by SIGKILL");
}

TEST_F(SlurmLauncherTest, AWorkerAboveItsMemoryIsToldAsOutOfMemory) {
  auto launcher = Open(Script(
      "exec /usr/bin/python3 -c 'import time; kept = b\"x\" * (400 << 20); time.sleep(60)'"));
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_TRUE(exit->out_of_memory) << exit->cause << Log(1);
  EXPECT_THAT(exit->cause, HasSubstr("out of memory"));
}

TEST_F(SlurmLauncherTest, AProgramThatIsMissingOnTheNodeIsToldAndLogged) {
  auto launcher = Open((folder_ / "no-such-worker").string());
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 127);
  EXPECT_THAT(Log(1), HasSubstr("no-such-worker"));
}

TEST_F(SlurmLauncherTest, StopAsksPolitely) {
  auto launcher = Open(UntilAsked());
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  WaitFor([this] { return absl::StrContains(Log(1), "ready"); });
  launcher->Stop(1, 60'000);
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 143);
  EXPECT_THAT(Log(1), HasSubstr("asked"));
}

TEST_F(SlurmLauncherTest, StopKillsAWorkerThatDoesNotListenWithinItsGraceTime) {
  auto launcher = Open(Stubborn());
  const auto job = launcher->Launch({.launch = 1});
  ASSERT_TRUE(job.ok()) << job.status();
  WaitFor([this] { return absl::StrContains(Log(1), "ready"); });
  launcher->Stop(1, 300);
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_THAT(exit->cause, HasSubstr("grace time"));
  // The worker's end may be noted while Slurm still clears its node.
  WaitFor([&] { return State(*job) != "RUNNING" && State(*job) != "COMPLETING"; });
  EXPECT_EQ(State(*job), "CANCELLED");
}

TEST_F(SlurmLauncherTest, WithoutSrunOnTheNodeAWorkerStillRunsAndIsAsked) {
  SlurmPoolOptions options = Options(UntilAsked());
  options.pool.bin = folder_ / "bin";
  fs::create_directory(options.pool.bin);
  for (const char* const program : {"sbatch", "squeue", "scancel", "scontrol", "sacct"}) {
    fs::create_symlink(*FindProgram(program, "", "/usr/bin:/bin"), folder_ / "bin" / program);
  }
  auto launcher = Open(std::move(options));
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  WaitFor([this] { return absl::StrContains(Log(1), "ready"); });
  launcher->Stop(1, 60'000);
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 143);
  EXPECT_EQ(Started(), 1);
}

TEST_F(SlurmLauncherTest, KillEndsAWorker) {
  auto launcher = Open(UntilAsked());
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  WaitFor([this] { return absl::StrContains(Log(1), "ready"); });
  launcher->Kill(1);
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_THAT(exit->cause, AnyOf("exit code 143", "killed by the coordinator"));
}

TEST_F(SlurmLauncherTest, AWorkerCancelledBySomebodyElseIsToldSo) {
  auto launcher = Open(Stubborn());
  const auto job = launcher->Launch({.launch = 1});
  ASSERT_TRUE(job.ok()) << job.status();
  WaitFor([this] { return absl::StrContains(Log(1), "ready"); });
  cluster_->Run("scancel", {*job});
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_THAT(exit->cause, HasSubstr("cancelled in Slurm by somebody else"));
}

TEST_F(SlurmLauncherTest, WorkersGetDifferentGpusAndTheThirdWaitsUntilOneIsFree) {
  SlurmPoolOptions options = Options(
      Script("trap 'exit 143' TERM\necho gpu=$CUDA_VISIBLE_DEVICES\nwhile :; do sleep 0.02; done"));
  options.pool.gres = "gpu:1";
  auto launcher = Open(std::move(options));
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  ASSERT_TRUE(launcher->Launch({.launch = 2}).ok());
  WaitFor([this] { return absl::StrContains(Log(1) + Log(2), "gpu=0"); });
  WaitFor([this] { return absl::StrContains(Log(1) + Log(2), "gpu=1"); });
  EXPECT_EQ(*NextStart() + *NextStart(), 1 + 2);
  const auto third = launcher->Launch({.launch = 3});
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_EQ(State(*third), "PENDING");
  launcher->Stop(1, 60'000);
  EXPECT_EQ(NextExit()->launch, 1);
  EXPECT_EQ(NextStart(), 3);
}

TEST_F(SlurmLauncherTest, AWaitingWorkerIsTakenFromTheQueue) {
  SlurmPoolOptions options = Options(UntilAsked());
  options.pool.cores = 4;
  auto launcher = Open(std::move(options));
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  ASSERT_TRUE(NextStart());
  ASSERT_TRUE(launcher->Launch({.launch = 2}).ok());
  ASSERT_TRUE(launcher->Launch({.launch = 3}).ok());
  launcher->Stop(2, 60'000);
  auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 2);
  EXPECT_EQ(exit->cause, "stopped by the coordinator");
  launcher->Kill(3);
  exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 3);
  EXPECT_EQ(exit->cause, "killed by the coordinator");
  EXPECT_EQ(Started(), 1);
}

TEST_F(SlurmLauncherTest, TheJobGetsWhatThePoolSaysAndNoneOfOurSecrets) {
  setenv("TRAINYARD_TOKEN", "hush", 1);
  setenv("SBATCH_PARTITION", "nosuch", 1);
  SlurmPoolOptions options =
      Options(Script("env; echo args: $*; cat $TRAINYARD_ACCESS/token; stat -c 'mode %a' "
                     "$TRAINYARD_ACCESS $TRAINYARD_ACCESS/token; exit 0"));
  options.pool.cores = 2;
  options.pool.time_limit_ms = 90'000;
  options.pool.programs = true;
  options.private_urls = true;
  options.access = [](int64_t launch) {
    return AccessFiles{{"token", absl::StrCat("secret of ", launch, "\n")}, {"ca.pem", "pem"}};
  };
  auto launcher = Open(std::move(options));
  launcher->SetCoordinator("10.0.0.1:7700");
  const auto job = launcher->Launch({.launch = 42});
  ASSERT_TRUE(job.ok()) << job.status();
  const std::string shown = cluster_->Run("scontrol", {"show", "job", *job});
  ASSERT_TRUE(NextExit());
  unsetenv("TRAINYARD_TOKEN");
  unsetenv("SBATCH_PARTITION");
  const std::string log = Log(42);
  EXPECT_THAT(log, HasSubstr("TRAINYARD_LAUNCH=42\n"));
  EXPECT_THAT(log, HasSubstr("TRAINYARD_COORDINATOR=10.0.0.1:7700\n"));
  EXPECT_THAT(log, HasSubstr("args: --pool gpu --threads 2 --private-urls --programs sandbox\n"));
  EXPECT_THAT(log, HasSubstr("secret of 42\nmode 700\nmode 400\n"));
  EXPECT_THAT(log, Not(HasSubstr("hush")));
  EXPECT_THAT(shown, HasSubstr("JobName=trainyard-gpu-42"));
  EXPECT_THAT(shown, HasSubstr("CPUs/Task=2"));
  EXPECT_THAT(shown, HasSubstr("TimeLimit=00:02:00"));
  EXPECT_THAT(shown, Not(HasSubstr("secret")));
  const fs::path folder = fs::path(launcher->LogPath(42)).parent_path();
  EXPECT_FALSE(fs::exists(folder / "access")) << "it is taken away with the worker";
  EXPECT_THAT(Read(folder / "job.sh"), Not(HasSubstr("secret")));
}

TEST_F(SlurmLauncherTest, NoValueBecomesACommand) {
  const std::string evil =
      "a b'\"$(touch HACKED)`touch HACKED`;touch HACKED #%j\n"
      "touch HACKED\n#SBATCH --partition=nosuch";
  const std::string line = evil.substr(0, evil.find('\n'));
  SlurmPoolOptions options = Options(Script("echo \"$TRAINYARD_COORDINATOR\"; exit 0"));
  const fs::path program = folder_ / line;
  fs::rename(options.pool.worker, program);
  options.pool.worker = program;
  options.pool.folder = folder_ / ("shared " + line);
  options.coordinator = evil;
  auto launcher = Open(options);
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 0) << exit->cause;
  EXPECT_EQ(Read(launcher->LogPath(1)), evil + "\n");
  options.pool.folder = folder_ / "shared";
  int64_t number = 1;
  for (std::string* const value :
       {&options.pool.partition, &options.pool.gres, &options.pool.account, &options.pool.qos}) {
    *value = line;
    auto other = Open(options);
    const auto handle = other->Launch({.launch = ++number});
    // A cluster without accounting takes whatever account it is told.
    EXPECT_EQ(handle.ok(), number > 3) << handle.status();
    EXPECT_TRUE(!handle.ok() || NextExit());
    value->clear();
  }
  for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
    EXPECT_NE(entry.path().filename(), "HACKED");
  }
}

TEST_F(SlurmLauncherTest, WhatSlurmRefusesIsToldInItsOwnWords) {
  const std::string worker = Script("exit 0");
  const auto refusal = [&](const std::function<void(SlurmPool&)>& change) {
    SlurmPoolOptions options = Options(worker);
    change(options.pool);
    static int64_t launch = 0;
    const auto handle = Open(std::move(options))->Launch({.launch = ++launch});
    EXPECT_EQ(handle.status().code(), absl::StatusCode::kFailedPrecondition) << handle.status();
    return std::string(handle.status().message());
  };
  EXPECT_EQ(refusal([](SlurmPool& pool) { pool.partition = "nosuch"; }),
            "Slurm refuses its jobs: invalid partition specified: nosuch; Invalid "
            "partition name specified");
  EXPECT_THAT(refusal([](SlurmPool& pool) { pool.gres = "gpu:3"; }),
              HasSubstr("Requested node configuration is not available"));
  EXPECT_THAT(refusal([](SlurmPool& pool) { pool.gres = "tpu:1"; }),
              HasSubstr("Invalid generic resource (gres) specification"));
  EXPECT_THAT(refusal([](SlurmPool& pool) { pool.memory_bytes = int64_t{1} << 50; }),
              HasSubstr("Memory specification can not be satisfied"));
  EXPECT_THAT(refusal([](SlurmPool& pool) { pool.bin = "/nonexistent"; }),
              HasSubstr("found no program sbatch in /nonexistent"));
  EXPECT_THAT(refusal([](SlurmPool& pool) { pool.folder = "/proc/nowhere"; }),
              HasSubstr("cannot make /proc/nowhere"));
}

}  // namespace
}  // namespace trainyard::coordinator
