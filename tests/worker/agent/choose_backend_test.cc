// What --backend comes to on machines with and without GPUs, and the line that explains it.
#include "worker/agent/choose_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trainyard::agent {
namespace {

using ::testing::HasSubstr;

kernels::CudaProbe Without(const std::string& problem, const std::string& versions = "") {
  kernels::CudaProbe probe;
  probe.problem = problem;
  probe.versions = versions;
  return probe;
}

kernels::CudaProbe WithGpu() {
  kernels::CudaProbe probe;
  probe.devices = {{"NVIDIA H100", "GPU-1234", int64_t{80} << 30, 9, 0}};
  probe.versions = "CUDA 13.0";
  return probe;
}

TEST(ChooseBackend, AutoIsTheCpuWithTheReason) {
  const auto choice =
      ChooseBackend("auto", [] { return Without("no NVIDIA driver is here", "CUDA 13.0"); });
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->backend, "cpu");
  EXPECT_EQ(choice->reason, "no NVIDIA driver is here (CUDA 13.0)");
}

TEST(ChooseBackend, AGpuThatIsSeenIsNamedThoughNotUsedYet) {
  const auto choice = ChooseBackend("auto", WithGpu);
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->backend, "cpu");
  EXPECT_EQ(choice->reason,
            "this version does not train on GPUs yet; there is NVIDIA H100 (GPU-1234, 81920 MiB, "
            "compute capability 9.0) (CUDA 13.0)");
}

TEST(ChooseBackend, CudaIsRefusedWithTheReason) {
  for (const auto& [probe, reason] :
       {std::pair{Without("no NVIDIA driver is here"), "no NVIDIA driver is here"},
        {WithGpu(), "does not train on GPUs yet"}}) {
    const auto choice = ChooseBackend("cuda", [&probe = probe] { return probe; });
    EXPECT_EQ(choice.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(choice.status().message()), HasSubstr("--backend cuda: "));
    EXPECT_THAT(std::string(choice.status().message()), HasSubstr(reason));
  }
}

TEST(ChooseBackend, WhoNamesTheCpuIsNotToldAboutGpus) {
  for (const std::string wanted : {"cpu", "reference"}) {
    const auto choice = ChooseBackend(wanted, []() -> kernels::CudaProbe {
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
