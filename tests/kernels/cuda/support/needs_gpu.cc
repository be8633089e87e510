// Linked into a test program that runs on a GPU: without one, it skips every test.
#include <gtest/gtest.h>

#include "kernels/cuda/runtime.h"

namespace trainyard::kernels::cuda::testing {
namespace {

class NeedsGpu : public ::testing::Environment {
 public:
  void SetUp() override {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaSuccess && count > 0) return;
    GTEST_SKIP() << "no usable GPU: "
                 << (status == cudaSuccess ? "found none" : cudaGetErrorString(status));
  }
};

const ::testing::Environment* const kNeedsGpu = ::testing::AddGlobalTestEnvironment(new NeedsGpu);

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
