// What --backend comes to on machines with and without GPUs, and the line that explains it.
#include "worker/agent/choose_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/agent/fake_gateway.h"

namespace trainyard::agent {
namespace {

using ::testing::HasSubstr;

kernels::CudaProbe Without(const std::string& problem, const std::string& versions = "") {
  kernels::CudaProbe probe;
  probe.problem = problem;
  probe.versions = versions;
  return probe;
}

kernels::CudaProbe WithGpus(int count) {
  kernels::CudaProbe probe;
  for (int i = 0; i < count; ++i) {
    probe.devices.push_back({"NVIDIA H100", "GPU-" + std::to_string(i), int64_t{80} << 30, 9, 0});
  }
  probe.versions = "CUDA 13.0";
  probe.driver = "580.65.06";
  probe.visible_count = count;
  return probe;
}

class ChooseBackendTest : public testing::Test {
 protected:
  absl::StatusOr<BackendChoice> Choose(const std::string& wanted, const kernels::CudaProbe& probe) {
    return ChooseBackend(wanted, folder_.path(), [&] { return probe; });
  }

  TestFolder folder_;
};

TEST_F(ChooseBackendTest, AutoIsTheCpuWithTheReason) {
  const auto choice = Choose("auto", Without("no NVIDIA driver is here", "CUDA 13.0"));
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->backend, "cpu");
  EXPECT_EQ(choice->reason, "no NVIDIA driver is here (CUDA 13.0)");
  EXPECT_FALSE(choice->gpu);
  EXPECT_FALSE(choice->of_others);
  EXPECT_EQ(DeviceText(*choice, 2), "cpu, 2 threads");
}

TEST_F(ChooseBackendTest, AGpuIsTakenAndDescribed) {
  for (const std::string wanted : {"auto", "cuda"}) {
    const auto choice = Choose(wanted, WithGpus(1));
    ASSERT_TRUE(choice.ok());
    EXPECT_EQ(choice->backend, "cuda");
    EXPECT_EQ(choice->reason,
              "NVIDIA H100 (GPU-0): 81920 MiB, compute capability 9.0, driver 580.65.06; "
              "CUDA 13.0");
    ASSERT_TRUE(choice->gpu);
    EXPECT_EQ(choice->gpu->gpu.uuid(), "GPU-0");
    EXPECT_EQ(choice->gpu->gpu.driver(), "580.65.06");
    EXPECT_EQ(choice->gpu->gpu.compute_capability(), "9.0");
    EXPECT_TRUE(choice->gpu->only);
    EXPECT_EQ(DeviceText(*choice, 2), "cuda, NVIDIA H100");
  }
}

TEST_F(ChooseBackendTest, TheNextOneGetsTheNextGpuAndTheLastOneTheCpu) {
  const auto first = Choose("auto", WithGpus(2)), second = Choose("auto", WithGpus(2));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->gpu->gpu.uuid(), "GPU-0");
  EXPECT_EQ(second->gpu->gpu.uuid(), "GPU-1");
  EXPECT_FALSE(second->gpu->only);
  const auto third = Choose("auto", WithGpus(2));
  ASSERT_TRUE(third.ok());
  EXPECT_EQ(third->backend, "cpu");
  EXPECT_EQ(third->reason, "all 2 GPUs are taken by other workers");
  EXPECT_TRUE(third->of_others);
  EXPECT_FALSE(second->of_others);
  const auto refused = Choose("cuda", WithGpus(1));
  EXPECT_EQ(refused.status().message(),
            "--backend cuda: the GPU NVIDIA H100 is taken by another worker");
}

TEST_F(ChooseBackendTest, AGpuThatCannotBeClaimedIsNotUsed) {
  const auto choice = ChooseBackend("auto", "/nowhere", [] { return WithGpus(2); });
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->backend, "cpu");
  EXPECT_THAT(choice->reason, HasSubstr("cannot be claimed: /nowhere/trainyard-GPU-1.lock: "));
}

TEST_F(ChooseBackendTest, CudaIsRefusedWithTheReason) {
  const auto choice = Choose("cuda", Without("no NVIDIA driver is here"));
  EXPECT_EQ(choice.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(choice.status().message(), "--backend cuda: no NVIDIA driver is here");
}

TEST_F(ChooseBackendTest, WhoNamesTheCpuIsNotToldAboutGpus) {
  for (const std::string wanted : {"cpu", "reference"}) {
    const auto choice = ChooseBackend(wanted, folder_.path(), []() -> kernels::CudaProbe {
      ADD_FAILURE() << "nobody asked for GPUs";
      return {};
    });
    ASSERT_TRUE(choice.ok());
    EXPECT_EQ(choice->backend, wanted);
    EXPECT_EQ(choice->reason, "");
  }
}

}  // namespace
}  // namespace trainyard::agent
