// What a coordinator reads of `trainyard-worker --list-gpus`.
#include "worker/agent/list_gpus.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>

#include <sstream>

#include "trainyard/v1/resources.pb.h"

namespace trainyard::agent {
namespace {

using ::testing::HasSubstr;

TEST(ListGpus, EachGpuIsALineOfJson) {
  kernels::CudaProbe probe;
  probe.devices = {{"NVIDIA H100 80GB HBM3", "GPU-a", int64_t{80} << 30, 9, 0},
                   {"A \"B\"\n", "GPU-b", 8, 12, 1}};
  probe.driver = "580.65.06";
  testing::internal::CaptureStdout();
  EXPECT_EQ(ListGpus(probe), 0);
  std::istringstream lines(testing::internal::GetCapturedStdout());
  std::string line;
  std::vector<v1::Gpu> gpus;
  while (std::getline(lines, line)) {
    v1::Gpu gpu;
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(line, &gpu).ok()) << line;
    gpus.push_back(gpu);
  }
  ASSERT_EQ(gpus.size(), 2u);
  EXPECT_EQ(gpus[0].name(), "NVIDIA H100 80GB HBM3");
  EXPECT_EQ(gpus[0].uuid(), "GPU-a");
  EXPECT_EQ(gpus[0].memory_bytes(), int64_t{80} << 30);
  EXPECT_EQ(gpus[0].compute_capability(), "9.0");
  EXPECT_EQ(gpus[0].driver(), "580.65.06");
  EXPECT_EQ(gpus[1].name(), "A \"B\"\n") << "one line all the same";
  EXPECT_EQ(gpus[1].compute_capability(), "12.1");
}

TEST(ListGpus, WithoutAnyItSaysWhyAndIsNoError) {
  kernels::CudaProbe probe;
  probe.problem = "no driver";
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  EXPECT_EQ(ListGpus(probe), 0);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("no GPU: no driver"));
}

}  // namespace
}  // namespace trainyard::agent
