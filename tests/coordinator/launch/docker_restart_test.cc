// Shows on a real Docker daemon what holds when the coordinator, the daemon or both are gone for a
// while: workers live on where they can, every exit is told once, and no line of a log is lost or
// doubled.
#include <signal.h>

#include "tests/coordinator/launch/docker_fixture.h"

namespace trainyard::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

// Counts to 300 within three seconds or more.
constexpr char kCount[] =
    "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; sleep 0.01; done; exit 4";

std::string Counted() {
  std::string text;
  for (int i = 1; i <= 300; ++i) text += std::to_string(i) + "\n";
  return text;
}

TEST_F(DockerTest, AnAdoptedWorkersExitIsNoticedAndItsLogGoesOnWhereItWas) {
  OpenWith(kCount);
  const LaunchHandle handle = Launch(1);
  WaitForLog(1, "\n50\n");
  const auto start = std::chrono::steady_clock::now();
  launcher_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  EXPECT_EQ(told_.exits(), 0u) << "the end of the launcher is not the worker's";
  Open(Options("worker", Host()));
  ASSERT_TRUE(launcher_->Adopt({.launch = 1}, handle).ok());
  ASSERT_TRUE(launcher_->Adopt({.launch = 1}, handle).ok()) << "twice is harmless";
  WaitForLog(1, "\n150\n");
  Reopen();
  ASSERT_TRUE(launcher_->Adopt({.launch = 1}, "").ok()) << "its name tells which it is";
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 1);
  EXPECT_EQ(exit->exit_code, 4);
  WaitFor([this] { return daemon_->Containers().empty(); });
  EXPECT_EQ(Log(1), Counted());
  EXPECT_EQ(told_.exits(), 0u);
}

TEST_F(DockerTest, AWorkerThatEndedWhileNobodyLookedIsToldWithItsTrueCause) {
  OpenWith(kUntilTerm);
  const LaunchHandle handle = Launch(1);
  WaitForLog(1, "ready");
  launcher_.reset();
  daemon_->Call("POST", "/containers/" + handle + "/stop");
  Open(Options("worker", Host()));
  ASSERT_TRUE(launcher_->Adopt({.launch = 1}, handle).ok());
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 5);
  EXPECT_FALSE(exit->unknown);
  WaitFor([this] { return daemon_->Containers().empty(); });
  EXPECT_EQ(Log(1), "ready\nleaving\n");
}

TEST_F(DockerTest, WhatIsGoneIsNotAdopted) {
  OpenWith(kUntilTerm);
  const LaunchHandle handle = Launch(1);
  launcher_.reset();
  daemon_->Call("DELETE", "/containers/" + handle + "?force=1");
  Open(Options("worker", Host()));
  EXPECT_EQ(launcher_->Adopt({.launch = 1}, handle).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(launcher_->Adopt({.launch = 2}, "").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(launcher_->Adopt({.launch = 3}, "../../_ping?").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(launcher_->Adopt({.launch = 4, .host = "elsewhere"}, handle).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(DockerTest, StraysAreRemovedAndWhatBelongsToOthersIsNot) {
  OpenWith(kUntilTerm);
  const LaunchHandle adopted = Launch(1);
  Launch(2);
  const auto make = [this](const std::string& name, const std::string& coordinator,
                           const std::string& pool) {
    const HttpReply made =
        daemon_->Call("POST", "/containers/create?name=" + name,
                      R"({"Image":"worker","Labels":{"trainyard.coordinator":")" + coordinator +
                          R"(","trainyard.pool":")" + pool + R"(","trainyard.launch":"9"}})");
    EXPECT_EQ(made.status, 201) << made.body;
    return *ReadCreated(made.body);
  };
  const std::string other = make("other", "c0ffee00", "pool");
  const std::string pool = make("pool", "c0ffee00c0ffee00", "two");
  make("made", "c0ffee00c0ffee00", "pool");  // and never started
  const std::string plain =
      *ReadCreated(daemon_->Call("POST", "/containers/create", R"({"Image":"worker"})").body);
  Reopen();
  ASSERT_TRUE(launcher_->Adopt({.launch = 1}, adopted).ok());
  EXPECT_EQ(daemon_->Containers().size(), 6u);
  launcher_->RemoveStrays();
  WaitFor([this] { return daemon_->Containers().size() <= 4; });
  EXPECT_THAT(daemon_->Containers(), UnorderedElementsAre(adopted, plain, other, pool));
  EXPECT_EQ(told_.exits(), 0u);
}

TEST_F(DockerTest, WorkersThatDieWithTheDaemonAreToldOnceAndNewOnesStartWhenItIsBack) {
  OpenWith(kUntilTerm);
  Launch(1);
  WaitForLog(1, "ready");
  daemon_->End(SIGTERM);
  auto reach = told_.NextReach();
  ASSERT_TRUE(reach);
  EXPECT_EQ(reach->host, "here");
  EXPECT_FALSE(reach->reachable);
  const auto refused = launcher_->Launch({.launch = 2});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("docker.sock"));
  ASSERT_TRUE(daemon_->Start()) << daemon_->log();
  reach = told_.NextReach();
  ASSERT_TRUE(reach);
  EXPECT_TRUE(reach->reachable);
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 1);
  EXPECT_EQ(exit->exit_code, 5);
  Launch(3);
  WaitForLog(3, "ready");
  launcher_->Kill(3);
  EXPECT_EQ(told_.NextExit()->launch, 3);
  WaitFor([this] { return daemon_->Containers().empty(); });
  EXPECT_EQ(Log(1), "ready\nleaving\n");
}

class DockerLiveRestoreTest : public DockerTest {
 protected:
  std::vector<std::string> DaemonArguments() override { return {"--live-restore"}; }
  void LoseDaemon() {
    daemon_->End(SIGTERM);
    const auto reach = told_.NextReach();
    ASSERT_TRUE(reach);
    EXPECT_FALSE(reach->reachable);
  }
  void FindDaemon() {
    ASSERT_TRUE(daemon_->Start(DaemonArguments())) << daemon_->log();
    const auto reach = told_.NextReach();
    ASSERT_TRUE(reach);
    EXPECT_TRUE(reach->reachable);
  }
  pid_t PidOf(const LaunchHandle& handle) {
    const std::string inspected = daemon_->Call("GET", "/containers/" + handle + "/json").body;
    return std::atoi(inspected.c_str() + inspected.find("\"Pid\":") + 6);
  }
};

TEST_F(DockerLiveRestoreTest, AWorkerThatOutlivesTheDaemonIsWatchedOn) {
  OpenWith(kUntilTerm);
  const LaunchHandle handle = Launch(1);
  WaitForLog(1, "ready");
  LoseDaemon();
  launcher_->Stop(1, 60'000);  // heard once the daemon is back
  FindDaemon();
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 5);
  WaitFor([this] { return daemon_->Containers().empty(); });
  EXPECT_EQ(Log(1), "ready\nleaving\n");
}

TEST_F(DockerLiveRestoreTest, AWorkerThatDiesWhileTheDaemonIsAwayIsToldWhenItIsBack) {
  OpenWith(kUntilTerm);
  const LaunchHandle handle = Launch(1);
  WaitForLog(1, "ready");
  const pid_t pid = PidOf(handle);
  ASSERT_GT(pid, 1);
  LoseDaemon();
  kill(pid, SIGKILL);
  FindDaemon();
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 1);
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_EQ(told_.exits(), 0u);
}

TEST_F(DockerLiveRestoreTest, WorkersOfALostHostAreAdoptedUnseenAndLookedAtWhenItIsBack) {
  OpenWith(kUntilTerm);
  const LaunchHandle living = Launch(1);
  const LaunchHandle gone = Launch(2);
  const LaunchHandle stray = Launch(3);
  WaitForLog(1, "ready");
  launcher_.reset();
  daemon_->Call("DELETE", "/containers/" + gone + "?force=1");
  daemon_->End(SIGTERM);
  Open(Options("worker", Host()));
  EXPECT_TRUE(launcher_->Adopt({.launch = 1}, living).ok());
  EXPECT_TRUE(launcher_->Adopt({.launch = 2}, gone).ok());
  launcher_->RemoveStrays();
  EXPECT_FALSE(told_.NextReach()->reachable);
  FindDaemon();
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 2);
  EXPECT_TRUE(exit->unknown);
  EXPECT_THAT(exit->cause, HasSubstr("gone from host here"));
  WaitFor([this] { return daemon_->Containers().size() == 1; });
  EXPECT_THAT(daemon_->Containers(), UnorderedElementsAre(living));
  launcher_->Stop(1, 60'000);
  EXPECT_EQ(told_.NextExit()->exit_code, 5);
}

}  // namespace
}  // namespace trainyard::coordinator
