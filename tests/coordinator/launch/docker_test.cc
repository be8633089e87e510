// Shows on a real Docker daemon that a worker is one container per number, that every exit is told
// at once with its true cause, and that nothing is left behind or reaches a worker that should not.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "tests/coordinator/launch/docker_fixture.h"

namespace trainyard::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using Clock = std::chrono::steady_clock;

int64_t MillisecondsSince(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
}

TEST_F(DockerTest, AnExitIsToldOnceWithItsCodeAndTheContainerRemovedWithItsVolumes) {
  OpenWith("exit 7");
  Launch(3);
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 3);
  EXPECT_EQ(exit->exit_code, 7);
  EXPECT_EQ(exit->signal, 0);
  EXPECT_FALSE(exit->unknown);
  EXPECT_FALSE(exit->out_of_memory);
  EXPECT_EQ(exit->cause, "exit code 7");
  WaitFor([this] { return daemon_->Containers().empty(); });
  // Only the cache stays.
  WaitFor([this] {
    const std::string volumes = daemon_->Call("GET", "/volumes").body;
    return volumes.find("\"Name\"") == volumes.rfind("\"Name\"") &&
           volumes.find("\"trainyard-cache\"") != std::string::npos;
  });
  EXPECT_EQ(told_.exits(), 0u);
}

TEST_F(DockerTest, AContainerForAProgramLeavesNoCacheBehind) {
  ASSERT_TRUE(
      daemon_->MakeImage("worker", "echo for another job > /var/cache/trainyard/it; exit 7"));
  DockerPoolOptions options = Options("worker", Host());
  options.pool.images = {{"program-keras", "worker"}};
  for (const int64_t work_size_bytes : {int64_t{0}, int64_t{1} << 20}) {
    options.pool.programs.work_size_bytes = work_size_bytes;
    launcher_.reset();
    Open(options);
    ASSERT_TRUE(launcher_->Launch({.launch = 3, .runtime = "program-keras"}).ok());
    EXPECT_EQ(told_.NextExit()->exit_code, 7) << Log(3);
    WaitFor([this] { return daemon_->Containers().empty(); });
    WaitFor([this] { return !absl::StrContains(daemon_->Call("GET", "/volumes").body, "Name"); });
  }
}

TEST_F(DockerTest, ANetworkForProgramsThatIsNotThereIsNamedWithWhatMakesIt) {
  ASSERT_TRUE(daemon_->MakeImage("worker", "exit 7"));
  DockerPoolOptions options = Options("worker", Host());
  options.pool.images["program-keras"] = "worker";
  options.pool.programs.network = "inner";
  Open(options);
  Launch(1);  // a network of layers does not need it
  const auto refused = launcher_->Launch({.launch = 2, .runtime = "program-keras"});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("docker network create --internal inner"));
}

TEST_F(DockerTest, LaunchingANumberTwiceKeepsTheRunningWorker) {
  OpenWith(kUntilTerm);
  const LaunchHandle first = Launch(1);
  EXPECT_EQ(Launch(1), first);
  // Another coordinator that never heard of the launch knows it from its name alone.
  Reopen();
  EXPECT_EQ(Launch(1), first);
  EXPECT_THAT(daemon_->Containers(), ElementsAre(first));
  launcher_->Kill(1);
  ASSERT_TRUE(told_.NextExit());
}

TEST_F(DockerTest, AContainerThatWasMadeAndNeverStartedIsMadeAnew) {
  OpenWith("exit 7");
  Launch(1);  // for the form of the request
  ASSERT_TRUE(told_.NextExit());
  WaitFor([this] { return daemon_->Containers().empty(); });
  const HttpReply made = daemon_->Call(
      "POST", "/containers/create?name=trainyard-c0ffee00c0ff-2",
      R"({"Image":"worker","Cmd":["stale"],"Labels":{"trainyard.coordinator":"c0ffee00c0ffee00",
          "trainyard.pool":"pool","trainyard.launch":"2"}})");
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_NE(Launch(2), *ReadCreated(made.body));
  EXPECT_EQ(told_.NextExit()->exit_code, 7);
}

TEST_F(DockerTest, SomebodyElsesContainerOfTheSameNameIsLeftAlone) {
  OpenWith("exit 7");
  const HttpReply made = daemon_->Call("POST", "/containers/create?name=trainyard-c0ffee00c0ff-1",
                                       R"({"Image":"worker"})");
  ASSERT_EQ(made.status, 201) << made.body;
  const auto handle = launcher_->Launch({.launch = 1});
  EXPECT_EQ(handle.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(handle.status().message()), HasSubstr("trainyard-c0ffee00c0ff-1"));
  EXPECT_EQ(daemon_->Containers().size(), 1u);
}

TEST_F(DockerTest, AWorkerThatSomebodyKillsIsToldOfBySignalWithinAQuarterOfASecond) {
  OpenWith(kUntilTerm);
  std::vector<int64_t> started, noticed;
  for (int64_t launch = 1; launch <= 10; ++launch) {
    auto start = Clock::now();
    const LaunchHandle handle = Launch(launch);
    started.push_back(MillisecondsSince(start));
    WaitForLog(launch, "ready");
    const std::string inspected = daemon_->Call("GET", "/containers/" + handle + "/json").body;
    const pid_t pid = std::atoi(inspected.c_str() + inspected.find("\"Pid\":") + 6);
    ASSERT_GT(pid, 1);
    start = Clock::now();
    kill(pid, SIGKILL);
    const auto exit = told_.NextExit();
    noticed.push_back(MillisecondsSince(start));
    ASSERT_TRUE(exit);
    EXPECT_EQ(exit->launch, launch);
    EXPECT_EQ(exit->signal, SIGKILL);
    EXPECT_FALSE(exit->out_of_memory);
    EXPECT_EQ(exit->cause, "killed by SIGKILL");
  }
  std::sort(started.begin(), started.end());
  std::sort(noticed.begin(), noticed.end());
  std::cout << "create and start: median " << started[5] << " ms; kill to on_exit: median "
            << noticed[5] << " ms, most " << noticed[9] << " ms\n";
  EXPECT_LE(noticed[5], 250);
}

TEST_F(DockerTest, ADockerKillIsToldAsSuch) {
  OpenWith(kUntilTerm);
  const LaunchHandle handle = Launch(1);
  daemon_->Call("POST", "/containers/" + handle + "/kill");
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_EQ(exit->cause, "killed by SIGKILL, through Docker");
}

TEST_F(DockerTest, AContainerThatSomebodyRemovesIsToldAsKilled) {
  OpenWith(kUntilTerm);
  const LaunchHandle handle = Launch(1);
  daemon_->Call("DELETE", "/containers/" + handle + "?force=1");
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_FALSE(exit->unknown);
}

TEST_F(DockerTest, AWorkerBeyondItsMemoryIsToldWithTheLimit) {
  ASSERT_TRUE(daemon_->MakeImage("worker", "exec tail /dev/zero"));
  DockerHost host = Host();
  host.memory_bytes = 32 << 20;
  Open(Options("worker", host));
  int told = 0;
  for (int64_t launch = 1; launch <= 8; ++launch) {
    Launch(launch);
    const auto exit = told_.NextExit();
    ASSERT_TRUE(exit);
    EXPECT_EQ(exit->signal, SIGKILL);
    told += exit->out_of_memory;
    EXPECT_THAT(exit->cause, HasSubstr(exit->out_of_memory ? "out of memory: the worker was killed"
                                                           : "or for want of memory"));
    EXPECT_THAT(exit->cause, HasSubstr("at the container's limit of 32 MiB"));
  }
  // Some of what the kernel says of memory may get lost in containerd, see docker_causes.cc.
  EXPECT_GE(told, 4);
}

TEST_F(DockerTest, AChildBeyondTheMemoryIsToldFromTheWorkerItself) {
  ASSERT_TRUE(daemon_->MakeImage("worker", "tail /dev/zero; sleep 1; exit 9"));
  ASSERT_TRUE(daemon_->MakeImage("patient", "tail /dev/zero; exit 0"));
  DockerHost host = Host();
  host.memory_bytes = 32 << 20;
  DockerPoolOptions options = Options("worker", host);
  options.pool.images["program"] = "patient";
  Open(options);
  Launch(1);
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_TRUE(exit->out_of_memory);
  EXPECT_EQ(exit->exit_code, 9);
  EXPECT_EQ(exit->cause,
            "out of memory: a process of the worker was killed at the container's limit of 32 MiB; "
            "exit code 9");
  // One that did its work without the child has not failed.
  ASSERT_TRUE(launcher_->Launch({.launch = 2, .runtime = "program"}).ok());
  const auto good = told_.NextExit();
  ASSERT_TRUE(good);
  EXPECT_FALSE(good->out_of_memory);
  EXPECT_EQ(good->exit_code, 0);
  EXPECT_EQ(good->cause, "exit code 0");
}

TEST_F(DockerTest, AMissingImageIsNamedWithWhatToDo) {
  Open(Options("trainyard/worker-cpu", Host()));
  const auto handle = launcher_->Launch({.launch = 1});
  EXPECT_EQ(handle.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(handle.status().message()),
              AllOf(HasSubstr("there is no image trainyard/worker-cpu"), HasSubstr("docker pull")));
  const auto other = launcher_->Launch({.launch = 2, .runtime = "program"});
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("no image for runtime program"));
}

TEST_F(DockerTest, AMissingCommandIsNamed) {
  ASSERT_TRUE(daemon_->MakeImageOf("worker", R"(["/bin/no-such-worker"])"));
  Open(Options("worker", Host()));
  Launch(1);
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 127);
  EXPECT_EQ(exit->cause, "exit code 127: the image's command was not found, see the log");
  WaitFor([this] { return daemon_->Containers().empty(); });
  EXPECT_THAT(Log(1), HasSubstr("/bin/no-such-worker"));
}

TEST_F(DockerTest, AGpuWithoutItsRuntimeIsExplainedAndLeavesNoContainer) {
  ASSERT_TRUE(daemon_->MakeImage("worker", "exit 0"));
  DockerHost host = Host();
  host.gpus = {"GPU-3f1c0d2e"};
  Open(Options("worker", host));
  const auto handle = launcher_->Launch({.launch = 1, .slot = 0});
  EXPECT_EQ(handle.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(handle.status().message()),
              HasSubstr("NVIDIA container toolkit is missing"));
  EXPECT_TRUE(daemon_->Containers().empty());
  // The slots behind the GPUs have none.
  EXPECT_TRUE(launcher_->Launch({.launch = 2, .slot = 1}).ok());
  EXPECT_EQ(told_.NextExit()->exit_code, 0);
  EXPECT_EQ(launcher_->Launch({.launch = 3, .slot = 5}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(DockerTest, WhatTheHostDoesNotHaveIsNamed) {
  ASSERT_TRUE(daemon_->MakeImage("worker", "exit 0"));
  DockerHost host = Host();
  host.cores = 4000;
  Open(Options("worker", host));
  const auto cores = launcher_->Launch({.launch = 1});
  EXPECT_EQ(cores.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(cores.status().message()), HasSubstr("CPUs"));
  DockerPoolOptions options = Options("worker", Host());
  options.data_roots = {"/no/such/data"};
  Open(options);
  const auto data = launcher_->Launch({.launch = 1});
  EXPECT_EQ(data.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(data.status().message()), HasSubstr("/no/such/data"));
  EXPECT_EQ(launcher_->Launch({.launch = 1, .host = "elsewhere"}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(DockerTest, StopAsksPolitely) {
  OpenWith(kUntilTerm);
  Launch(1);
  WaitForLog(1, "ready");
  launcher_->Stop(1, 60'000);
  launcher_->Stop(1, 60'000);
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 5);
  WaitFor([this] { return daemon_->Containers().empty(); });
  EXPECT_EQ(Log(1), "ready\nleaving\n");
  launcher_->Stop(1, 10);  // gone: nothing to do
  launcher_->Kill(1);
}

TEST_F(DockerTest, StopKillsAWorkerThatDoesNotListenWithinItsGraceTime) {
  OpenWith("trap '' TERM; echo ready; while :; do sleep 0.05; done");
  Launch(1);
  WaitForLog(1, "ready");
  const auto start = Clock::now();
  launcher_->Stop(1, 300);
  EXPECT_LT(MillisecondsSince(start), 200) << "nobody waits for it";
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_EQ(exit->cause, "killed: it had not stopped within its grace time");
  EXPECT_GE(MillisecondsSince(start), 300);
}

TEST_F(DockerTest, KillEndsAPausedWorkerToo) {
  OpenWith(kUntilTerm);
  const LaunchHandle handle = Launch(1);
  ASSERT_EQ(daemon_->Call("POST", "/containers/" + handle + "/pause").status, 204);
  launcher_->Kill(1);
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->cause, "killed by the coordinator");
}

TEST_F(DockerTest, TheWorkerGetsItsNumberFlagsAndFoldersAndMayWriteNowhereElse) {
  ASSERT_TRUE(daemon_->MakeImage(
      "worker",
      "echo args: \"$@\"; env; id; touch /var/cache/trainyard/a /var/lib/trainyard/b /tmp/c &&"
      " echo written; touch /d; touch " +
          folder_.string() + "/data/e; cat " + folder_.string() +
          "/given/f; grep -E 'Cap|NoNewPrivs' /proc/self/status"));
  std::filesystem::create_directories(folder_ / "given");
  std::ofstream(folder_ / "given" / "f") << "some data\n";
  std::filesystem::permissions(folder_, std::filesystem::perms(0755));
  DockerHost host = Host();
  host.cores = 1.5;
  DockerPoolOptions options = Options("worker", host);
  options.data_roots = {(folder_ / "given").string()};
  options.private_urls = true;
  Open(options);
  launcher_->SetCoordinator("host.docker.internal:7799");
  Launch(42);
  ASSERT_TRUE(told_.NextExit());
  WaitFor([this] { return daemon_->Containers().empty(); });
  const std::string log = Log(42);
  EXPECT_THAT(log, HasSubstr("args: --pool pool --threads 1 --private-urls\n"));
  EXPECT_THAT(log, HasSubstr("TRAINYARD_LAUNCH=42\n"));
  EXPECT_THAT(log, HasSubstr("TRAINYARD_COORDINATOR=host.docker.internal:7799\n"));
  EXPECT_THAT(log, Not(HasSubstr("TRAINYARD_ACCESS")));
  EXPECT_THAT(log, HasSubstr("uid=10001 gid=10001"));
  EXPECT_THAT(log, HasSubstr("written\n"));
  EXPECT_THAT(log, HasSubstr("/d: Read-only file system"));
  EXPECT_THAT(log, HasSubstr("some data\n"));
  EXPECT_THAT(log, HasSubstr("CapEff:\t0000000000000000\n"));
  EXPECT_THAT(log, HasSubstr("NoNewPrivs:\t1\n"));
}

TEST_F(DockerTest, AccessFilesAreTheWorkersAloneAndStandNowhereElse) {
  ASSERT_TRUE(daemon_->MakeImage("worker",
                                 "ls -lnd $TRAINYARD_ACCESS; ls -ln $TRAINYARD_ACCESS; "
                                 "grep -c hush $TRAINYARD_ACCESS/token; " +
                                     std::string(kUntilTerm)));
  DockerPoolOptions options = Options("worker", Host());
  options.access = [](int64_t launch) -> absl::StatusOr<AccessFiles> {
    if (launch != 1) return absl::ResourceExhaustedError("no token");
    return AccessFiles{{"token", "hush-hush\n"}, {"ca.pem", "authority\n"}};
  };
  Open(options);
  const LaunchHandle handle = Launch(1);
  WaitForLog(1, "ready");
  const std::string log = Log(1);
  EXPECT_THAT(log, ::testing::ContainsRegex("dr-x------ .*10001 +10001 .*/run/trainyard/access\n"));
  EXPECT_THAT(log, ::testing::ContainsRegex("-r-------- .*10001 +10001 +10 .*token\n"));
  EXPECT_THAT(log, HasSubstr("\n1\n")) << "the worker reads it";
  const std::string inspected = daemon_->Call("GET", "/containers/" + handle + "/json").body;
  EXPECT_THAT(inspected, HasSubstr("TRAINYARD_ACCESS=/run/trainyard/access"));
  EXPECT_THAT(inspected, Not(HasSubstr("hush-hush")));
  launcher_->Kill(1);
  ASSERT_TRUE(told_.NextExit());
  // Who is given nothing is not launched.
  EXPECT_EQ(launcher_->Launch({.launch = 2}).status().code(), absl::StatusCode::kResourceExhausted);
  WaitFor([this] { return daemon_->Containers().empty(); });
}

TEST_F(DockerTest, TheLogIsCompleteAndForItsOwnerOnly) {
  OpenWith("seq 1 20000; echo err >&2; head -c 40000 /dev/zero | tr '\\0' x; echo; echo end");
  Launch(1);
  ASSERT_TRUE(told_.NextExit());
  WaitFor([this] { return daemon_->Containers().empty(); });
  WaitFor([this] { return !std::filesystem::exists(launcher_->LogPath(1) + ".at"); });
  std::string log = Log(1);
  const size_t error = log.find("err\n");  // somewhere between the others
  ASSERT_NE(error, std::string::npos);
  log.erase(error, 4);
  std::string expected;
  for (int i = 1; i <= 20000; ++i) expected += std::to_string(i) + "\n";
  expected += std::string(40000, 'x') + "\nend\n";
  EXPECT_TRUE(log == expected) << log.size() << " bytes, expected " << expected.size();
  struct stat info = {};
  ASSERT_EQ(stat(launcher_->LogPath(1).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

}  // namespace
}  // namespace trainyard::coordinator
