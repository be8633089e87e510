// Shows with a real Slurm what becomes of workers when jobs are preempted, started again or
// forgotten, when the controller is down, and when the coordinator was.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/coordinator/launch/slurm_fixture.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class SlurmTroubleTest : public SlurmLauncherTest {
 protected:
  bool Ready(int64_t launch) const { return absl::StrContains(Log(launch), "ready"); }
  void LaunchReady(SlurmLauncher& launcher, int64_t launch, std::string* job) {
    const auto handle = launcher.Launch({.launch = launch});
    ASSERT_TRUE(handle.ok()) << handle.status();
    *job = *handle;
    WaitFor([&] { return Ready(launch); });
  }
  // A job of somebody more important, who needs the whole node.
  void PushAside() {
    const std::string said = cluster_->Run(
        "sbatch",
        {"--parsable", "--partition=urgent", "--cpus-per-task=4", "--mem=50", "--output=/dev/null",
         absl::StrCat("--chdir=", folder_.string()), "--wrap=exec sleep 1"});
    ASSERT_THAT(said, ::testing::MatchesRegex("[0-9]+\n"));
  }
  bool IsOver(const std::string& job) const {
    const std::string state = State(job);
    return state != "PENDING" && state != "RUNNING" && state != "COMPLETING";
  }
};

TEST_F(SlurmTroubleTest, APreemptedWorkerIsAskedAndHasItsGraceTime) {
  SlurmPoolOptions options = Options(UntilAsked());
  options.pool.cores = 4;
  auto launcher = Open(std::move(options));
  std::string job;
  LaunchReady(*launcher, 1, &job);
  PushAside();
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 143);
  EXPECT_THAT(exit->cause, HasSubstr("preempted by Slurm"));
  EXPECT_THAT(Log(1), HasSubstr("asked"));
}

TEST_F(SlurmTroubleTest, AWorkerThatIsPreemptedByForceIsToldAsPreempted) {
  SlurmPoolOptions options = Options(Stubborn());
  options.pool.cores = 4;
  options.pool.partition = "hasty";
  auto launcher = Open(std::move(options));
  std::string job;
  LaunchReady(*launcher, 1, &job);
  PushAside();
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 143);
  EXPECT_THAT(exit->cause, HasSubstr("preempted by Slurm"));
  WaitFor([&] { return IsOver(job); });
  EXPECT_EQ(Started(), 1);
}

TEST_F(SlurmTroubleTest, AJobThatIsRequeuedEndsOnceAndStartsNoSecondWorker) {
  for (const bool stubborn : {false, true}) {
    const int64_t launch = stubborn ? 2 : 1;
    auto launcher = Open(stubborn ? Stubborn() : UntilAsked());
    launcher->RemoveStrays();
    std::string job;
    LaunchReady(*launcher, launch, &job);
    // The job forbids it; whoever administers the cluster may overrule that.
    EXPECT_THAT(cluster_->Run("scontrol", {"requeue", job}), HasSubstr("disabled"));
    cluster_->Run("scontrol", {"update", absl::StrCat("jobid=", job), "requeue=1"});
    EXPECT_EQ(cluster_->Run("scontrol", {"requeue", job}), "");
    const auto exit = NextExit();
    ASSERT_TRUE(exit);
    EXPECT_EQ(exit->launch, launch);
    EXPECT_EQ(exit->exit_code, 143);
    EXPECT_THAT(exit->cause, HasSubstr("requeued by Slurm"));
    WaitFor([&] { return IsOver(job); });
    EXPECT_EQ(Started(), launch);
    EXPECT_EQ(ExitsWaiting(), 0u);
  }
}

TEST_F(SlurmTroubleTest, ARequeuedJobThatSlurmStartsFirstIsRefusedByItsOwnScript) {
  SlurmPoolOptions options = Options(Stubborn());
  options.ask_ms = 3'600'000;  // the controller tells of nothing
  auto launcher = Open(std::move(options));
  std::string job;
  LaunchReady(*launcher, 1, &job);
  cluster_->Run("scontrol", {"update", absl::StrCat("jobid=", job), "requeue=1"});
  cluster_->Run("scontrol", {"requeue", job});
  // Slurm lets it wait for a time that nobody here has.
  WaitFor([&] { return State(job) == "PENDING"; });
  cluster_->Run("scontrol", {"update", absl::StrCat("jobid=", job), "starttime=now"});
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 143);
  EXPECT_THAT(exit->cause, HasSubstr("requeued by Slurm"));
  // Its end may be known before that.
  WaitFor([&] { return absl::StrContains(NotesOf(1), absl::StrCat("refused ", job)); });
  EXPECT_EQ(Started(), 1);
}

TEST_F(SlurmTroubleTest, AWorkerAtItsTimeLimitIsToldSo) {
  auto launcher = Open(UntilAsked());
  std::string job;
  LaunchReady(*launcher, 1, &job);
  // A limit is a minute at least, so that its end is moved here.
  cluster_->Run("scontrol", {"update", absl::StrCat("jobid=", job), "timelimit=0:01"});
  cluster_->Run("scontrol", {"update", absl::StrCat("jobid=", job), "endtime=now"});
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 143);
  EXPECT_THAT(exit->cause, HasSubstr("time limit"));
}

TEST_F(SlurmTroubleTest, AnOutageIsToldOnceAndWorkersLiveAndEndThroughIt) {
  auto launcher = Open(UntilAsked());
  std::string first, second;
  LaunchReady(*launcher, 1, &first);
  LaunchReady(*launcher, 2, &second);
  cluster_->StopController();
  const auto lost = NextReach();
  ASSERT_TRUE(lost);
  EXPECT_FALSE(lost->reachable);
  EXPECT_NE(lost->why, "");
  EXPECT_EQ(launcher->Launch({.launch = 3}).status().code(), absl::StatusCode::kUnavailable);
  // An end is seen without it.
  kill(std::stoi(Read(fs::path(launcher->LogPath(1)).parent_path() / "run" / "pid")), SIGTERM);
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 1);
  EXPECT_EQ(exit->exit_code, 143);
  launcher->Stop(2, 60'000);  // is said when there is somebody to say it to
  ASSERT_TRUE(cluster_->StartController().ok());
  const auto found = NextReach();
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->reachable);
  const auto stopped = NextExit();
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->launch, 2);
  EXPECT_EQ(stopped->exit_code, 143) << stopped->cause;
  EXPECT_TRUE(launcher->Launch({.launch = 4}).ok());
  EXPECT_EQ(NextStart(), 1);
  EXPECT_EQ(NextStart(), 2);
  EXPECT_EQ(NextStart(), 4);
}

TEST_F(SlurmTroubleTest, ALaunchThatMeetsNoControllerIsUnavailable) {
  auto launcher = Open(UntilAsked());
  cluster_->StopController();
  EXPECT_EQ(launcher->Launch({.launch = 1}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(NextReach()->reachable);
  ASSERT_TRUE(cluster_->StartController().ok());
  EXPECT_TRUE(NextReach()->reachable);
  // The same number again: nothing was submitted the first time.
  EXPECT_TRUE(launcher->Launch({.launch = 1}).ok());
  WaitFor([&] { return Ready(1); });
  EXPECT_EQ(Started(), 1);
}

TEST_F(SlurmTroubleTest, WorkersAreAdoptedAndTheirEndsToldHoweverLongAgo) {
  std::string living, left, cancelled;
  {
    auto launcher = Open(UntilAsked());
    LaunchReady(*launcher, 1, &living);
    LaunchReady(*launcher, 2, &left);
    LaunchReady(*launcher, 3, &cancelled);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(NextStart());
  }
  EXPECT_EQ(ExitsWaiting(), 0u) << "nobody ends with the launcher";
  kill(std::stoi(Read(folder_ / "shared" / "c0ffee" / "gpu-2" / "run" / "pid")), SIGTERM);
  cluster_->Run("scancel", {"--signal=KILL", cancelled});
  WaitFor([&] { return IsOver(left) && IsOver(cancelled); });
  auto launcher = Open(UntilAsked());
  EXPECT_TRUE(launcher->Adopt({.launch = 1}, living).ok());
  EXPECT_TRUE(launcher->Adopt({.launch = 1}, living).ok()) << "twice is harmless";
  EXPECT_EQ(NextStart(), 1);
  EXPECT_TRUE(launcher->Adopt({.launch = 2}, left).ok());
  auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 2);
  EXPECT_EQ(exit->exit_code, 143);
  EXPECT_TRUE(launcher->Adopt({.launch = 3}, cancelled).ok());
  exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 3);
  EXPECT_THAT(exit->cause, HasSubstr("cancelled in Slurm by somebody else"));
  EXPECT_EQ(launcher->Adopt({.launch = 4}, "4711").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(launcher->Adopt({.launch = 4}, living).code(), absl::StatusCode::kNotFound)
      << "another launch's job";
  EXPECT_EQ(launcher->Adopt({.launch = 4}, "17 4242").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(launcher->Adopt({.launch = 4}, "").code(), absl::StatusCode::kNotFound);
  launcher->Stop(1, 60'000);
  exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->launch, 1);
}

TEST_F(SlurmTroubleTest, AJobThatTheControllerForgotIsKnownFromTheAccounting) {
  auto launcher = Open(UntilAsked());
  std::string job;
  LaunchReady(*launcher, 1, &job);
  launcher.reset();
  // Ends without a word of its own, as on a node that loses its file system.
  fs::remove(folder_ / "shared" / "c0ffee" / "gpu-1" / "state");
  cluster_->Run("scancel", {job});
  WaitFor([&] { return IsOver(job); });
  fs::remove(folder_ / "shared" / "c0ffee" / "gpu-1" / "state");
  cluster_->Forget(job);
  launcher = Open(UntilAsked());
  EXPECT_TRUE(launcher->Adopt({.launch = 1}, job).ok());
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_THAT(exit->cause, HasSubstr("cancelled in Slurm by somebody else"));
}

TEST_F(SlurmTroubleTest, AWorkerWhoseJobTheControllerLostIsNotTakenForGone) {
  auto launcher = Open(UntilAsked());
  std::string job;
  LaunchReady(*launcher, 1, &job);
  cluster_->Forget(job);
  std::this_thread::sleep_for(std::chrono::seconds(2));  // for several listings without it
  EXPECT_EQ(ExitsWaiting(), 0u);
  kill(std::stoi(Read(fs::path(launcher->LogPath(1)).parent_path() / "run" / "pid")), SIGTERM);
  const auto exit = NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->exit_code, 143);
  EXPECT_EQ(exit->cause, "exit code 143");
}

TEST_F(SlurmTroubleTest, WhatIsAdoptedDuringAnOutageIsWatchedOnceItIsOver) {
  auto launcher = Open(UntilAsked());
  std::string job;
  LaunchReady(*launcher, 1, &job);
  launcher.reset();
  cluster_->StopController();
  launcher = Open(UntilAsked());
  EXPECT_TRUE(launcher->Adopt({.launch = 1}, job).ok());
  EXPECT_FALSE(NextReach()->reachable);
  ASSERT_TRUE(cluster_->StartController().ok());
  EXPECT_TRUE(NextReach()->reachable);
  EXPECT_EQ(ExitsWaiting(), 0u);
  launcher->Stop(1, 60'000);
  EXPECT_EQ(NextExit()->exit_code, 143);
}

TEST_F(SlurmTroubleTest, ALaunchThatWasNeverRecordedIsFoundAgainAndNotRepeated) {
  std::string job;
  {
    auto launcher = Open(UntilAsked());
    LaunchReady(*launcher, 1, &job);
    EXPECT_EQ(*launcher->Launch({.launch = 1}), job);
  }
  EXPECT_EQ(*Open(UntilAsked())->Launch({.launch = 1}), job);
  // The coordinator died before it noted even the number: the job still says whose it is.
  fs::remove(folder_ / "shared" / "c0ffee" / "gpu-1" / "job");
  fs::rename(folder_ / "shared" / "c0ffee" / "gpu-1" / "state", folder_ / "state");
  auto launcher = Open(UntilAsked());
  EXPECT_EQ(*launcher->Launch({.launch = 1}), job);
  EXPECT_EQ(Started(), 1);
}

TEST_F(SlurmTroubleTest, ASecondJobOfOneLaunchStartsNoWorker) {
  auto launcher = Open(UntilAsked());
  std::string job;
  LaunchReady(*launcher, 1, &job);
  const std::string script = fs::path(launcher->LogPath(1)).parent_path() / "job.sh";
  const std::string second =
      cluster_->Run("sbatch", {"--parsable", "--mem=50", "--output=/dev/null",
                               absl::StrCat("--chdir=", folder_.string()), script});
  const std::string number = second.substr(0, second.find('\n'));
  WaitFor([&] { return IsOver(number); });
  EXPECT_THAT(NotesOf(1), HasSubstr(absl::StrCat("refused ", number)));
  EXPECT_EQ(Started(), 1);
  EXPECT_EQ(State(job), "RUNNING");
  EXPECT_EQ(ExitsWaiting(), 0u);
}

TEST_F(SlurmTroubleTest, StraysAreCancelledAndOthersJobsAreNot) {
  std::string kept, stray, foreign;
  {
    auto launcher = Open(UntilAsked());
    LaunchReady(*launcher, 1, &kept);
    LaunchReady(*launcher, 2, &stray);
    SlurmPoolOptions options = Options(UntilAsked());
    options.name = "other";
    auto other = Open(std::move(options));
    foreign = *other->Launch({.launch = 3});
  }
  auto launcher = Open(UntilAsked());
  ASSERT_TRUE(launcher->Adopt({.launch = 1}, kept).ok());
  launcher->RemoveStrays();
  WaitFor([&] { return IsOver(stray); });
  EXPECT_EQ(State(kept), "RUNNING");
  EXPECT_EQ(State(foreign), "RUNNING");
  EXPECT_EQ(ExitsWaiting(), 0u);
}

}  // namespace
}  // namespace trainyard::coordinator
