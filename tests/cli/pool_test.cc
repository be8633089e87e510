// Where workers come from and what jobs wait for, as people and programs see it.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "cli/exit_code.h"
#include "tests/cli/scripted_server.h"

namespace trainyard::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

TEST(PoolTest, EveryHostHasARow) {
  ScriptedServer server;
  server.pools = {Parse<v1::WorkerPool>(R"(name: "process" kind: "process"
        hosts { slots: 2 used: 1 reachable: true })"),
                  Parse<v1::WorkerPool>(R"(name: "gpu" kind: "docker"
        labels { key: "site" value: "berlin" } labels { key: "gpu" value: "h100" }
        hosts { name: "gpu1" slots: 3 gpu_slots: 2 gpu_memory_bytes: 85899345920 used: 3
                reachable: true }
        hosts { name: "gpu2" slots: 2 gpu_slots: 2 reachable: true trouble: "no such image"
                retry_in_ms: 40000 }
        hosts { name: "gpu3" slots: 2 gpu_slots: 2 trouble: "connection refused" })"),
                  Parse<v1::WorkerPool>(R"(name: "cluster" kind: "slurm"
        hosts { slots: 16 used: 4 gpu_slots: 16 gpu_memory_bytes: 42949672960 reachable: true
                trouble: "sbatch: error" })")};
  const Outcome outcome = RunCli(server, {"pool", "list"});
  EXPECT_EQ(outcome.code, kDone) << outcome.err;
  EXPECT_EQ(outcome.out,
            R"(POOL     KIND     HOST  SLOTS  GPUS            LABELS                 STATE
process  process  -       1/2  -               -                      ok
gpu      docker   gpu1    3/3  2 of 80.0 GiB   gpu=h100, site=berlin  ok
gpu      docker   gpu2    0/2  2               gpu=h100, site=berlin  set aside for 40 s: no such
                                                                      image
gpu      docker   gpu3    0/2  2               gpu=h100, site=berlin  unreachable: connection
                                                                      refused
cluster  slurm    -      4/16  16 of 40.0 GiB  -                      set aside: sbatch: error
)");
}

TEST(PoolTest, AsJsonItHasEveryField) {
  ScriptedServer server;
  server.pools = {Parse<v1::WorkerPool>(R"(name: "gpu" kind: "docker"
      hosts { name: "gpu1" slots: 3 reachable: true })")};
  const Outcome outcome = RunCli(server, {"pool", "list", "--output", "json"});
  EXPECT_EQ(outcome.code, kDone);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("\"pools\": ["), HasSubstr("\"kind\": \"docker\""),
                                 HasSubstr("\"gpu_slots\": 0"), HasSubstr("\"retry_in_ms\": \"0\""),
                                 HasSubstr("\"reachable\": true"), HasSubstr("\"trouble\": \"\"")));
}

TEST(PoolTest, WithoutPoolsOrHostsItSaysSo) {
  ScriptedServer server;
  EXPECT_THAT(RunCli(server, {"pool", "list"}).out, HasSubstr("trainyard up --pools FILE"));
  server.pools = {Parse<v1::WorkerPool>("name: \"process\" kind: \"process\"")};
  EXPECT_THAT(RunCli(server, {"pool", "list"}).out, HasSubstr("no hosts"));
}

TEST(PoolTest, TroubleFromElsewhereCannotReachTheTerminal) {
  ScriptedServer server;
  server.pools = {Parse<v1::WorkerPool>(R"(name: "a\033[2J" kind: "b\033[2J"
      labels { key: "c\033[2J" value: "d\033[2J" }
      hosts { name: "e\033[2J" trouble: "f\033[2J\nFORGED" })")};
  EXPECT_THAT(RunCli(server, {"pool", "list"}).out,
              AllOf(Not(HasSubstr("\033")), Not(HasSubstr("\nFORGED"))));
}

TEST(PoolTest, ACoordinatorThatKnowsNoPoolsIsAnError) {
  ScriptedServer server;
  server.errors["ListPools"] = {grpc::StatusCode::UNIMPLEMENTED, "not here"};
  const Outcome outcome = RunCli(server, {"pool", "list"});
  EXPECT_EQ(outcome.code, kUnexpected);
  EXPECT_EQ(outcome.out, "");
  server.Stop();
  EXPECT_EQ(RunCli(server, {"pool", "list"}).code, kUnreachable);
}

TEST(PoolTest, WorkersShowGpusAndLabelsWhereOneHasSome) {
  ScriptedServer server;
  server.workers = {
      Parse<v1::Worker>(R"(id: 3 name: "gpu1/7" pool: "gpu" device: "cuda" state: IDLE gpu: true
        gpu_memory_bytes: 85899345920 labels { key: "site" value: "berlin" })"),
      Parse<v1::Worker>(R"(id: 4 name: "here/8" pool: "process" device: "cpu, 2 threads"
        state: BUSY job: 7 trial: 2 attempt: 1)")};
  EXPECT_EQ(RunCli(server, {"worker", "list"}).out,
            R"(WORKER  NAME    POOL     DEVICE          GPU MEMORY  LABELS       STATE  AT WORK ON
     3  gpu1/7  gpu      cuda            80.0 GiB    site=berlin  idle   -
     4  here/8  process  cpu, 2 threads  -           -            busy   job 7, trial 2
)");
}

TEST(PoolTest, WorkersOnGpusShowNameMemoryDriverAndUse) {
  ScriptedServer server;
  server.workers = {Parse<v1::Worker>(R"text(id: 3 name: "h/71" pool: "gpus" device: "cuda"
        state: BUSY job: 7 trial: 2 attempt: 1 gpu: true gpu_memory_bytes: 85520809984
        gpu_device { name: "NVIDIA H100" uuid: "GPU-1" memory_bytes: 85520809984
                     driver: "580.65.06 (CUDA 13.0)" compute_capability: "9.0" }
        gpu_use { memory_used_bytes: 13200000000 busy_percent: 97 })text"),
                    Parse<v1::Worker>(R"(id: 4 name: "h/72" pool: "gpus" device: "cuda"
        state: IDLE gpu_device { name: "A\033[2J10" memory_bytes: 15843721216
                                 driver: "CUDA 12.4" }
        gpu_use { memory_used_bytes: 314572800 busy_percent: -1 })"),
                    Parse<v1::Worker>(R"(id: 5 name: "h/73" pool: "gpus" state: LOST
        gpu_device { name: "A10" memory_bytes: 15843721216 })"),
                    Parse<v1::Worker>(R"(id: 6 name: "h/74" pool: "gpus" state: IDLE
        device: "cpu")")};
  EXPECT_EQ(
      RunCli(server, {"worker", "list"}).out,
      R"(WORKER  NAME  POOL  DEVICE  GPU MEMORY     DRIVER                 BUSY  STATE  AT WORK ON
     3  h/71  gpus  H100    12.3/79.6 GiB  580.65.06 (CUDA 13.0)   97%  busy   job 7, trial 2
     4  h/72  gpus  A10     0.3/14.8 GiB   CUDA 12.4                 -  idle   -
     5  h/73  gpus  A10     14.8 GiB       -                         -  lost   -
     6  h/74  gpus  cpu     -              -                         -  idle   -
)");
  server.workers[0].set_attempt(3);
  EXPECT_THAT(RunCli(server, {"worker", "list"}).out,
              AllOf(HasSubstr("job 7, trial 2,\n"), HasSubstr(" attempt 3\n")));
  const Outcome json = RunCli(server, {"worker", "list", "--output", "json"});
  EXPECT_THAT(json.out,
              AllOf(HasSubstr("\"uuid\": \"GPU-1\""), HasSubstr("\"name\": \"NVIDIA H100\""),
                    HasSubstr("\"compute_capability\": \"9.0\""), HasSubstr("\"busy_percent\": 97"),
                    HasSubstr("\"memory_used_bytes\": \"13200000000\"")));
}

TEST(PoolTest, AQueuedAttemptSaysWhatItWaitsFor) {
  ScriptedServer server;
  server.jobs[7] = SampleJob();
  v1::Trial& trial = *server.jobs[7].mutable_trials(1);
  trial.set_state(v1::TRIAL_STATE_QUEUED);
  v1::Attempt& attempt = *trial.add_attempts();
  attempt.set_state(v1::ATTEMPT_STATE_QUEUED);
  attempt.set_waiting_for("a GPU with 12 GiB: pool gpu has none free\033[2J");
  EXPECT_THAT(RunCli(server, {"job", "show", "7"}).out,
              AllOf(HasSubstr("queued: waits for a GPU with 12 GiB:"), Not(HasSubstr("\033"))));
  attempt.set_state(v1::ATTEMPT_STATE_RUNNING);
  EXPECT_THAT(RunCli(server, {"job", "show", "7"}).out, Not(HasSubstr("waits for")));
}

TEST(PoolTest, AJobShowsWhatItNeedsBeyondTheDefaults) {
  ScriptedServer server;
  server.jobs[7] = SampleJob();
  v1::Resources& resources = *server.jobs[7].mutable_spec()->mutable_resources();
  const auto shown = [&] { return RunCli(server, {"job", "show", "7"}).out; };
  resources.set_gpu(v1::Resources::ANY);
  EXPECT_THAT(shown(), Not(HasSubstr("needs")));
  resources = Parse<v1::Resources>(R"(pool: "gpu" gpu: REQUIRED gpu_memory_bytes: 12884901888
    labels { key: "site" value: "berlin" } priority: -5)");
  EXPECT_THAT(shown(),
              HasSubstr("needs      pool gpu, a GPU with 12.0 GiB, site=berlin, priority -5\n"));
  resources = Parse<v1::Resources>("gpu: NONE");
  EXPECT_THAT(shown(), HasSubstr("needs      no GPU\n"));
  resources = Parse<v1::Resources>("gpu: ANY gpu_memory_bytes: 12884901888");
  EXPECT_THAT(shown(), HasSubstr("needs      if a GPU, one with 12.0 GiB\n"));
}

}  // namespace
}  // namespace trainyard::cli
