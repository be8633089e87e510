// What the core places by follows from the pools file: slots in the launcher's order, and what a
// worker in each can do.
#include "coordinator/launch/pools.h"

#include <gtest/gtest.h>

namespace trainyard::coordinator {
namespace {

TEST(PoolsTest, ADockerHostHasItsGpusFirstAndThenItsCpuSlots) {
  DockerPool docker;
  docker.hosts.push_back({.name = "gpu1",
                          .gpus = {"GPU-a", "GPU-b"},
                          .gpu_memory_bytes = int64_t{80} << 30,
                          .cpu_slots = 1});
  docker.hosts.push_back({.name = "cpu1", .cpu_slots = 2});
  docker.images = {{"native", "trainyard/worker-cuda"},
                   {"program-keras", "trainyard/program-keras"}};
  const core::PoolSettings pool = ToSettings(
      {.name = "gpu", .labels = {{"site", "berlin"}}, .data_roots = {"/data"}, .kind = docker});
  EXPECT_EQ(pool.kind, "docker");
  EXPECT_TRUE(pool.one_attempt);
  EXPECT_FALSE(pool.queues);
  ASSERT_EQ(pool.hosts.size(), 2u);
  const auto& slots = pool.hosts.at("gpu1");
  ASSERT_EQ(slots.size(), 3u);
  EXPECT_TRUE(slots[0].gpu && slots[1].gpu);
  EXPECT_FALSE(slots[2].gpu);
  EXPECT_EQ(slots[1].gpu_memory_bytes, int64_t{80} << 30);
  EXPECT_EQ(slots[2].gpu_memory_bytes, 0);
  EXPECT_EQ(pool.hosts.at("cpu1").size(), 2u);
  for (const core::Abilities& can : slots) {
    EXPECT_EQ(can.labels, (core::Labels{{"site", "berlin"}}));
    EXPECT_EQ(can.data_roots, std::set<std::string>{"/data"});
    EXPECT_EQ(can.runtimes, (std::set<std::string>{"native", "program-keras"}));
  }
}

TEST(PoolsTest, AClusterIsOneHostWhoseWorkersMayWaitInItsQueue) {
  const core::PoolSettings pool = ToSettings(
      {.name = "cluster",
       .kind = SlurmPool{.workers = 3, .gres = "gpu:1", .gpu_memory_bytes = int64_t{40} << 30}});
  EXPECT_TRUE(pool.one_attempt && pool.queues);
  ASSERT_EQ(pool.hosts.size(), 1u);
  const auto& slots = pool.hosts.at("");
  ASSERT_EQ(slots.size(), 3u);
  EXPECT_TRUE(slots[2].gpu);
  EXPECT_EQ(slots[2].gpu_memory_bytes, int64_t{40} << 30);
  EXPECT_EQ(slots[2].runtimes, (std::set<std::string>{"native"}));
}

TEST(PoolsTest, AClusterThatRunsProgramsRunsThoseOfAllFrameworks) {
  const core::PoolSettings pool =
      ToSettings({.name = "cluster", .kind = SlurmPool{.workers = 1, .programs = true}});
  EXPECT_EQ(pool.hosts.at("")[0].runtimes,
            (std::set<std::string>{"native", "program-keras", "program-torch", "program-sklearn",
                                   "program-other"}));
}

}  // namespace
}  // namespace trainyard::coordinator
