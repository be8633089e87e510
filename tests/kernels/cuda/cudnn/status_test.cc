// What a failure of cuDNN is taken for: the machine's, the graph's, or ours; and that the parts of
// it that are loaded late are here, or named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "kernels/cuda/cudnn/descriptor.h"
#include "kernels/cuda/cudnn/sublibraries.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(CudnnStatus, WhatTheMachineLacksIsToldByItsKind) {
  EXPECT_NO_THROW(CheckCudnn(CUDNN_STATUS_SUCCESS, "doing it"));
  for (const cudnnStatus_t status :
       {CUDNN_STATUS_NOT_INITIALIZED, CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED,
        CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH,
        CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED,
        CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED,
        CUDNN_STATUS_EXECUTION_FAILED_CUDART}) {
    EXPECT_THROW(CheckCudnn(status, "doing it"), Unavailable) << status;
  }
  EXPECT_THROW(CheckCudnn(CUDNN_STATUS_NOT_SUPPORTED_SHAPE, "doing it"), CudnnUnsupported);
  try {
    CheckCudnn(CUDNN_STATUS_BAD_PARAM, "doing it");
    ADD_FAILURE() << "threw nothing";
  } catch (const Unavailable&) {
    ADD_FAILURE() << "took it for the machine's fault";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), StartsWith("doing it: CUDNN_STATUS_BAD_PARAM"));
  }
}

TEST(CudnnSublibraries, AreHereOrNamedInOneLine) {
  EXPECT_EQ(ProblemOfSublibraries(), "");
  const std::array<const char*, 2> names = {CudnnSublibraries()[0], "libcudnn_not_here.so.9"};
  EXPECT_THAT(ProblemOfSublibraries(names),
              AllOf(StartsWith("a part of cuDNN cannot be loaded: libcudnn_not_here.so.9: "),
                    HasSubstr("No such file"), ::testing::Not(HasSubstr("\n"))));
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
