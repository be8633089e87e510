// What is read from the driver's management library. The stand-in is loaded first, so that it is
// what the library's name means.
#include "kernels/cuda/nvml.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

namespace trainyard::kernels::cuda {
namespace {

class NvmlTest : public testing::Test {
 protected:
  NvmlTest() { EXPECT_NE(dlopen(TRAINYARD_NVML, RTLD_NOW | RTLD_LOCAL), nullptr) << dlerror(); }
};

TEST_F(NvmlTest, TellsMemoryAndUseOfTheGpuThatIsNamed) {
  const NvmlUse use = UseByNvml("GPU-known");
  EXPECT_EQ(use.memory_used_bytes, int64_t{3} << 30);
  EXPECT_EQ(use.busy_percent, 87);
}

TEST_F(NvmlTest, WhatTheGpuDoesNotTellIsNotKnown) {
  const NvmlUse use = UseByNvml("GPU-partly");
  EXPECT_EQ(use.memory_used_bytes, int64_t{3} << 30);
  EXPECT_EQ(use.busy_percent, -1);
}

TEST_F(NvmlTest, TellsTheDriversVersion) { EXPECT_EQ(DriverVersionByNvml(), "580.65.06"); }

TEST_F(NvmlTest, OfAnotherGpuNothingIsKnown) {
  const NvmlUse use = UseByNvml("GPU-other");
  EXPECT_EQ(use.memory_used_bytes, -1);
  EXPECT_EQ(use.busy_percent, -1);
}

}  // namespace
}  // namespace trainyard::kernels::cuda
