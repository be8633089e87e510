// Shows with real processes that the pool starts one worker per number, whatever crashes, and tells
// of every exit, also of workers that it did not start itself.
#include "coordinator/launch/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>

#include "coordinator/launch/launch_slot.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kPatience = std::chrono::seconds(60);

// What the launcher told, for one thread to wait for.
class Exits {
 public:
  LaunchListener Callback() {
    return {[this](const WorkerExit& exit) {
              std::lock_guard lock(mutex_);
              exits_.push_back(exit);
              changed_.notify_all();
            },
            nullptr};
  }
  std::optional<WorkerExit> Next() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [this] { return !exits_.empty(); })) return {};
    WorkerExit exit = exits_.front();
    exits_.pop_front();
    return exit;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<WorkerExit> exits_;
};

class ProcessLauncherTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "trainyard-launch-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    for (const pid_t pid : Started()) kill(pid, SIGKILL);
    fs::remove_all(folder_);
  }

  // A worker that notes its pid in `started` and then does what `body` says.
  std::string Script(const std::string& body) {
    const fs::path path = folder_ / "worker.sh";
    std::ofstream(path) << "#!/bin/sh\necho $$ >> " << (folder_ / "started").string() << "\n"
                        << body << "\n";
    chmod(path.c_str(), 0755);
    return path;
  }
  // Waits for a FIFO that nobody opens for writing: until a signal comes.
  std::string UntilSignalled() {
    const fs::path fifo = folder_ / "never";
    mkfifo(fifo.c_str(), 0600);
    return "read x < " + fifo.string();
  }
  std::unique_ptr<ProcessLauncher> Open(const std::string& binary,
                                        const std::vector<std::string>& gpus = {}) {
    auto launcher = ProcessLauncher::Open({.worker_binary = binary,
                                           .arguments = {"--threads", "1"},
                                           .coordinator = "127.0.0.1:7700",
                                           .folder = Logs(),
                                           .issue_access = {},
                                           .gpus = gpus},
                                          exits_.Callback());
    EXPECT_TRUE(launcher.ok()) << launcher.status();
    return *std::move(launcher);
  }
  std::string Logs() const { return (folder_ / "workers").string(); }
  std::string Log(int64_t launch) const {
    return Read(fs::path(Logs()) / ("worker-" + std::to_string(launch) + ".log"));
  }
  static std::string Read(const fs::path& path) {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  std::vector<pid_t> Started() const {
    std::ifstream file(folder_ / "started");
    return {std::istream_iterator<pid_t>(file), {}};
  }
  void WaitFor(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  static pid_t PidOf(const LaunchHandle& handle) { return ParseHandle(handle)->pid; }

  // A coordinator that launches worker 1 and dies by SIGKILL before it could record anything.
  void LaunchAndDie(const std::string& binary) {
    const pid_t coordinator = fork();
    if (coordinator == 0) {
      auto launcher = ProcessLauncher::Open({binary, {}, "127.0.0.1:7700", Logs()},
                                            {[](const WorkerExit&) {}, nullptr});
      if (!launcher.ok() || !(*launcher)->Launch({.launch = 1}).ok()) _exit(1);
      raise(SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(waitpid(coordinator, &status, 0), coordinator);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the launch failed";
  }

  fs::path folder_;
  Exits exits_;
};

TEST_F(ProcessLauncherTest, AnExitIsToldWithItsCode) {
  auto launcher = Open(Script("exit 7"));
  ASSERT_TRUE(launcher->Launch({.launch = 3}).ok());
  const auto exit = exits_.Next();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 3);
  EXPECT_EQ(exit->exit_code, 7);
  EXPECT_EQ(exit->signal, 0);
  EXPECT_FALSE(exit->unknown);
  EXPECT_EQ(exit->cause, "exit code 7");
}

TEST_F(ProcessLauncherTest, AWorkerSeesTheGpuOfItsSlotAndNoOther) {
  const std::string script = Script("echo \"sees ${CUDA_VISIBLE_DEVICES-what we see}\"");
  const auto seen = [&](const std::vector<std::string>& gpus, int64_t launch, int slot) {
    auto launcher = Open(script, gpus);
    EXPECT_TRUE(launcher->Launch({.launch = launch, .slot = slot}).ok());
    EXPECT_TRUE(exits_.Next());
    return Log(launch);
  };
  unsetenv("CUDA_VISIBLE_DEVICES");
  EXPECT_EQ(seen({}, 1, 0), "sees what we see\n") << "a machine without GPUs: nothing is set";
  setenv("CUDA_VISIBLE_DEVICES", "1,0", 1);
  EXPECT_EQ(seen({}, 2, 0), "sees 1,0\n");
  EXPECT_EQ(seen({"GPU-a", "GPU-b"}, 3, 0), "sees GPU-a\n");
  EXPECT_EQ(seen({"GPU-a", "GPU-b"}, 4, 1), "sees GPU-b\n");
  EXPECT_EQ(seen({"GPU-a", "GPU-b"}, 5, 2), "sees \n") << "a slot beyond computes on the CPU";
  unsetenv("CUDA_VISIBLE_DEVICES");
}

TEST_F(ProcessLauncherTest, ASignalIsToldByNameAndIsNotTakenForLackOfMemory) {
  auto launcher = Open(Script(UntilSignalled()));
  const auto handle = launcher->Launch({.launch = 1});
  ASSERT_TRUE(handle.ok()) << handle.status();
  kill(PidOf(*handle), SIGKILL);
  const auto exit = exits_.Next();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_FALSE(exit->out_of_memory);
  EXPECT_EQ(exit->cause, "killed by SIGKILL");
}

TEST_F(ProcessLauncherTest, AWorkerIsGivenAFolderWithItsAccessUntilItEnds) {
  const AccessIssuer issue = [](int64_t launch) -> absl::StatusOr<AccessFiles> {
    if (launch == 2) return absl::InternalError("no random numbers");
    if (launch == 3) return AccessFiles{};
    return AccessFiles{{"token", "secret of 1\n"}, {"ca.pem", "ca"}};
  };
  const std::string script = Script(
      "echo \"access $TRAINYARD_ACCESS\"; [ -z \"$TRAINYARD_ACCESS\" ] || "
      "cp \"$TRAINYARD_ACCESS/token\" " +
      (folder_ / "copy").string() + "; " + UntilSignalled());
  auto launcher =
      ProcessLauncher::Open({script, {}, "127.0.0.1:7700", Logs(), issue}, exits_.Callback());
  ASSERT_TRUE(launcher.ok()) << launcher.status();
  const fs::path folder = fs::path(Logs()) / "worker-1.access";
  const auto handle = (*launcher)->Launch({.launch = 1});
  ASSERT_TRUE(handle.ok()) << handle.status();
  WaitFor([&] { return Read(folder_ / "copy") == "secret of 1\n"; });
  EXPECT_THAT(Log(1), HasSubstr("access " + folder.string()));
  struct stat info {};
  ASSERT_EQ(stat(folder.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
  ASSERT_EQ(stat((folder / "token").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  kill(PidOf(*handle), SIGKILL);
  ASSERT_TRUE(exits_.Next());
  EXPECT_FALSE(fs::exists(folder));

  EXPECT_EQ((*launcher)->Launch({.launch = 2}).status().message(), "no random numbers");
  ASSERT_TRUE((*launcher)->Launch({.launch = 3}).ok());
  WaitFor([&] { return Log(3).ends_with("access \n"); });
  EXPECT_FALSE(fs::exists(fs::path(Logs()) / "worker-3.access"));
}

TEST_F(ProcessLauncherTest, LaunchingANumberTwiceKeepsTheRunningWorker) {
  auto launcher = Open(Script(UntilSignalled()));
  const auto first = launcher->Launch({.launch = 1});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(*launcher->Launch({.launch = 1}), *first);
  // Another launcher on the same folder knows it from the slot alone.
  auto second = Open(Script(UntilSignalled()));
  EXPECT_EQ(*second->Launch({.launch = 1}), *first);
  WaitFor([this] { return !Started().empty(); });
  EXPECT_EQ(Started(), std::vector<pid_t>{PidOf(*first)});
}

TEST_F(ProcessLauncherTest, ALaunchThatWasNeverRecordedIsFoundAgainAndNotRepeated) {
  const std::string binary = Script(UntilSignalled());
  LaunchAndDie(binary);
  auto launcher = Open(binary);
  const auto handle = launcher->Launch({.launch = 1});
  ASSERT_TRUE(handle.ok()) << handle.status();
  WaitFor([this] { return !Started().empty(); });
  EXPECT_EQ(Started(), std::vector<pid_t>{PidOf(*handle)});
  kill(PidOf(*handle), SIGKILL);
  const auto exit = exits_.Next();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 1);
}

TEST_F(ProcessLauncherTest, AnAdoptedWorkersExitIsNoticed) {
  const std::string binary = Script(UntilSignalled());
  LaunchAndDie(binary);
  WaitFor([this] { return !Started().empty(); });
  const auto process = IdentityOf(Started().front());
  ASSERT_TRUE(process);
  auto launcher = Open(binary);
  ASSERT_TRUE(launcher->Adopt({.launch = 1}, ToHandle(*process)).ok());
  ASSERT_TRUE(launcher->Adopt({.launch = 1}, ToHandle(*process)).ok()) << "twice is harmless";
  kill(process->pid, SIGKILL);
  const auto exit = exits_.Next();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 1);
  EXPECT_EQ(exit->exit_code, -1);
}

TEST_F(ProcessLauncherTest, AWorkerWithAnOldRecordIsAdoptedThroughItsSlot) {
  const std::string binary = Script(UntilSignalled());
  LaunchAndDie(binary);
  auto launcher = Open(binary);
  EXPECT_TRUE(launcher->Adopt({.launch = 1}, "").ok());
  WaitFor([this] { return !Started().empty(); });
  EXPECT_EQ(PidOf(*launcher->Launch({.launch = 1})), Started().front());
}

TEST_F(ProcessLauncherTest, WhatNoLongerRunsIsNotAdopted) {
  auto launcher = Open(Script("exit 0"));
  const auto handle = launcher->Launch({.launch = 1});
  ASSERT_TRUE(handle.ok()) << handle.status();
  ASSERT_TRUE(exits_.Next());
  EXPECT_EQ(launcher->Adopt({.launch = 1}, *handle).code(), absl::StatusCode::kNotFound);
  // The pid lives, with another start time: somebody else got it.
  const auto self = IdentityOf(getpid());
  EXPECT_EQ(launcher->Adopt({.launch = 2}, ToHandle({self->pid, self->start_ticks + 1})).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(ProcessLauncherTest, AfterAnExitTheSameNumberStartsAnew) {
  auto launcher = Open(Script("exit 0"));
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  ASSERT_TRUE(exits_.Next());
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  ASSERT_TRUE(exits_.Next());
  EXPECT_EQ(Started().size(), 2u);
}

TEST_F(ProcessLauncherTest, ALockLeftToAGrandchildDoesNotBlockTheNumber) {
  auto launcher = Open(Script("sh -c '" + UntilSignalled() + "' & echo $! >> " +
                              (folder_ / "started").string() + "; exit 0"));
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  ASSERT_TRUE(exits_.Next());
  const auto again = launcher->Launch({.launch = 1});
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_TRUE(exits_.Next());
}

TEST_F(ProcessLauncherTest, StopAsksPolitely) {
  auto launcher = Open(Script("trap 'exit 5' TERM\ntouch " + (folder_ / "ready").string() + "\n" +
                              "while :; do sleep 0.01; done"));
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  WaitFor([this] { return fs::exists(folder_ / "ready"); });
  launcher->Stop(1, 60'000);
  const auto exit = exits_.Next();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 5);
}

TEST_F(ProcessLauncherTest, StopKillsAWorkerThatDoesNotListenWithinItsGraceTime) {
  auto launcher = Open(Script("trap '' TERM\ntouch " + (folder_ / "ready").string() + "\n" +
                              "while :; do sleep 0.01; done"));
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  WaitFor([this] { return fs::exists(folder_ / "ready"); });
  launcher->Stop(1, 50);
  const auto exit = exits_.Next();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_THAT(exit->cause, HasSubstr("grace time"));
}

TEST_F(ProcessLauncherTest, KillEndsAStoppedProcessToo) {
  auto launcher = Open(Script(UntilSignalled()));
  const auto handle = launcher->Launch({.launch = 1});
  kill(PidOf(*handle), SIGSTOP);
  launcher->Kill(1);
  const auto exit = exits_.Next();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->cause, "killed by the coordinator");
}

TEST_F(ProcessLauncherTest, TheWorkerGetsItsNumberAndTheAddressButNoneOfOurSecretsOrDescriptors) {
  setenv("TRAINYARD_TOKEN", "hush", 1);
  const int leak = fcntl(STDERR_FILENO, F_DUPFD, 77);  // without close-on-exec
  auto launcher =
      Open(Script("env; echo args: $*; for fd in /proc/self/fd/*; do\n"
                  "[ -e $fd ] && echo fd ${fd##*/}; done; ps -o sid= -p $$"));
  const auto handle = launcher->Launch({.launch = 42});
  ASSERT_TRUE(handle.ok()) << handle.status();
  ASSERT_TRUE(exits_.Next());
  close(leak);
  unsetenv("TRAINYARD_TOKEN");
  const std::string log = Log(42);
  EXPECT_THAT(log, HasSubstr("TRAINYARD_LAUNCH=42\n"));
  EXPECT_THAT(log, HasSubstr("TRAINYARD_COORDINATOR=127.0.0.1:7700\n"));
  EXPECT_THAT(log, HasSubstr("PATH="));
  EXPECT_THAT(log, HasSubstr("args: --threads 1\n"));
  EXPECT_THAT(log, Not(HasSubstr("hush")));
  EXPECT_THAT(log, Not(HasSubstr("fd " + std::to_string(leak) + "\n")));
  EXPECT_THAT(log, HasSubstr(std::to_string(PidOf(*handle)))) << "it leads its own session";
}

TEST_F(ProcessLauncherTest, ALogGrowsAndIsNeverCutOff) {
  auto launcher = Open(Script("echo out; echo err >&2"));
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  ASSERT_TRUE(exits_.Next());
  ASSERT_TRUE(launcher->Launch({.launch = 1}).ok());
  ASSERT_TRUE(exits_.Next());
  EXPECT_EQ(Log(1), "out\nerr\nout\nerr\n");
  EXPECT_EQ(launcher->LogPath(1), Logs() + "/worker-1.log");
}

TEST_F(ProcessLauncherTest, AMissingProgramIsNamed) {
  auto launcher = Open((folder_ / "no-such-worker").string());
  const auto handle = launcher->Launch({.launch = 1});
  EXPECT_EQ(handle.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(handle.status().message()), HasSubstr("no-such-worker"));
  EXPECT_THAT(std::string(handle.status().message()), HasSubstr("No such file"));
}

TEST_F(ProcessLauncherTest, ASlotWhoseHolderNeverSaysWhoItIsIsGivenUp) {
  const std::string path = (folder_ / "slot").string();
  const int holder = open(path.c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_EQ(flock(holder, LOCK_EX), 0);
  EXPECT_EQ(LaunchSlot::Take(path, 20).status().code(), absl::StatusCode::kUnavailable);
  close(holder);
  const auto slot = LaunchSlot::Take(path, 20);
  ASSERT_TRUE(slot.ok()) << slot.status();
  EXPECT_FALSE(slot->running());
}

}  // namespace
}  // namespace trainyard::coordinator
