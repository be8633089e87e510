// What people are told that a queued attempt waits for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/core/step.h"
#include "tests/coordinator/core/text.h"

namespace trainyard::core {
namespace {

using ::testing::HasSubstr;

class WaitingTest : public ::testing::Test {
 protected:
  void Do(int64_t now_ms, const std::string& what) {
    Event event = ParseEvent(what);
    event.now_ms = event.wall_ms = now_ms;
    Step(state_, event);
  }
  std::string Why(int64_t now_ms = 1'000) {
    for (const auto& [id, attempt] : state_.attempts) {
      if (!attempt.ended()) return WhyWaiting(state_, attempt, now_ms);
    }
    return "no attempt is left";
  }
  PoolSettings& AddPool(const std::string& name, Abilities can) {
    PoolSettings& pool = state_.settings.pools[name];
    pool.one_attempt = true;
    pool.hosts["h"] = {can};
    return pool;
  }

  State state_;
};

TEST_F(WaitingTest, WhereNothingSuitsItSaysWhatIsWanted) {
  AddPool("gpu", {.gpu = true, .gpu_memory_bytes = int64_t{8} << 30});
  Do(10, "job_submitted request=1 gpu=required memory=17179869184 pool=gpu");
  EXPECT_EQ(Why(),
            "a GPU with 16.0 GiB, in pool gpu: there is none that suits; the largest GPU has 8.0 "
            "GiB");
}

TEST_F(WaitingTest, WhatNeedsNoGpuAndFitsOnNoneSaysHowMuchItNeeds) {
  AddPool("gpu", {.gpu = true, .gpu_memory_bytes = int64_t{8} << 30});
  Do(10, "job_submitted request=1 memory=17179869184");
  EXPECT_EQ(Why(),
            "a worker without a GPU, or a GPU with 16.0 GiB: there is none that suits; the largest "
            "GPU has 8.0 GiB");
  // Of GPUs that are not in question nothing is said.
  state_.jobs.begin()->second.request.needs.pool = "other";
  EXPECT_EQ(Why(), "a worker, in pool other: there is none that suits");
}

TEST_F(WaitingTest, AWorkerThatCameWithoutItsGpuIsLetGoForWhoNeedsOne) {
  AddPool("gpu", {.gpu = true});
  Do(10, "job_submitted request=1 gpu=required memory=1073741824");
  Do(20, "worker_registered request=2 incarnation=i name=h/1 launch=1");
  Do(30, "worker_connected worker=1");
  Do(40, "worker_exited launch=1 kind=code");
  EXPECT_EQ(Why(50), "a GPU with 1.0 GiB: host h of pool gpu is without 1 of its GPUs");
  EXPECT_EQ(state_.attempts.size(), 1u) << "it cost no attempt";
  Do(60'031, "time_passed");
  EXPECT_EQ(Why(60'031), "a worker that is being started on host h of pool gpu");
}

TEST_F(WaitingTest, AnImageForProgramsHasItsGpuThoughItNamesNone) {
  AddPool("gpu", {.gpu = true, .runtimes = {"program-keras"}});
  Do(10, "job_submitted request=1 gpu=required memory=1073741824");
  state_.jobs.begin()->second.request.needs.runtime = "program-keras";
  Do(15, "time_passed");
  Do(20, "worker_registered request=2 incarnation=i name=h/1 launch=1");
  Do(30, "worker_connected worker=1");
  EXPECT_EQ(state_.workers.begin()->second.state, WorkerState::kBusy);
}

TEST_F(WaitingTest, WhereNobodyRunsSuchProgramsItSaysHowSomebodyWould) {
  AddPool("box", {});
  Do(10, "job_submitted request=1 pool=keras");
  state_.jobs.begin()->second.request.needs.runtime = "program-keras";
  EXPECT_THAT(
      Why(),
      HasSubstr("a worker, for program-keras, in pool keras: there is none that suits; programs "
                "run on this machine with --allow-programs"));
  AddPool("keras", {.gpu = true, .runtimes = {"program-keras"}});
  state_.jobs.begin()->second.request.needs.gpu = GpuWish::kNone;
  EXPECT_EQ(Why(),
            "a worker without a GPU, for program-keras, in pool keras: there is none that suits");
}

TEST_F(WaitingTest, WhereAllAreTakenItSaysHowMany) {
  AddPool("box", {});
  Do(10, "job_submitted request=1 spec=a");
  Do(20, "job_submitted request=2 spec=b");
  EXPECT_EQ(Why(), "a worker that is being started on host h of pool box");
  EXPECT_EQ(WhyWaiting(state_, state_.attempts.rbegin()->second, 1'000),
            "a worker: all 1 that suit are taken");
}

TEST_F(WaitingTest, InAQueueItWaitsForItsTurnUntilTheLaunchHasStarted) {
  AddPool("cluster", {}).queues = true;
  Do(10, "job_submitted request=1");
  EXPECT_EQ(Why(), "its turn in the queue of host h of pool cluster");
  Do(20, "launch_started launch=1");
  EXPECT_EQ(Why(), "a worker that is being started on host h of pool cluster");
}

TEST_F(WaitingTest, AHostThatIsLostOrSetAsideIsNamedWithTheCause) {
  AddPool("box", {});
  Do(10, "host_lost pool=box host=h message=\"no route\"");
  Do(20, "job_submitted request=1");
  EXPECT_EQ(Why(), "a worker: host h of pool box cannot be reached: no route");
  Do(30, "host_found pool=box host=h");
  Do(40, "launch_failed launch=1 message=\"no space\"");
  EXPECT_THAT(Why(50), HasSubstr("host h of pool box is set aside for another 1 s: launch 1"));
}

TEST_F(WaitingTest, AHostWhoseGpuIsLostSaysSoUntilItMayBeTriedAgain) {
  AddPool("gpu", {.gpu = true});
  Do(10, "job_submitted request=1 gpu=required memory=1073741824");
  Do(20, "worker_registered request=2 incarnation=i name=h/1 launch=1 gpu=GPU-1");
  Do(30, "worker_connected worker=1");
  Do(40, "attempt_ended claim=1/1/1 sequence=1 outcome=device_lost message=gone");
  Do(50, "worker_exited launch=1 kind=code");
  EXPECT_EQ(Why(60), "a GPU with 1.0 GiB: host h of pool gpu is without 1 of its GPUs");
  Do(60'041, "time_passed");
  EXPECT_EQ(Why(60'041), "a worker that is being started on host h of pool gpu");
}

TEST_F(WaitingTest, WhoeverRunsOrIsPausedWaitsForNothing) {
  Do(10, "job_submitted request=1");
  EXPECT_EQ(Why(), "a worker: there is none that suits");
  Do(20, "job_paused request=2 job=1");
  EXPECT_EQ(Why(), "");
  Do(30, "job_resumed request=3 job=1");
  Do(40, "worker_registered request=4 incarnation=i name=h/1 pool=external host=h");
  Do(50, "worker_connected worker=1");
  EXPECT_EQ(Why(), "");
}

}  // namespace
}  // namespace trainyard::core
