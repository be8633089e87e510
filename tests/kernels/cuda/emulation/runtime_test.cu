// The runtime's part that is emulated: memory, streams, events, capture and replay, and errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/resources.h"
#include "tests/kernels/cuda/support/device_array.h"
#include "tests/kernels/cuda/support/schedules.h"

namespace trainyard::kernels::cuda::testing {
namespace {

__global__ void AddKernel(const float* x, float add, float* y) {
  y[threadIdx.x] = x[threadIdx.x] + add;
}

class Capture : public ::testing::Test {
 protected:
  Capture() { EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess); }
  ~Capture() override { EXPECT_EQ(cudaStreamDestroy(stream_), cudaSuccess); }
  void Begin(cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal) {
    ASSERT_EQ(cudaStreamBeginCapture(stream_, mode), cudaSuccess);
  }
  void ExpectInvalid() {
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
    cudaGetLastError();
  }

  cudaStream_t stream_ = nullptr;
};

TEST_F(Capture, NothingRunsUntilAReplayWhichSeesTheMemoryOfItsTime) {
  DeviceArray<float> x(std::vector<float>{1, 2}), y(std::vector<float>{0, 0}), z(2);
  z.Write({0, 0});
  Begin();
  float add = 10;
  Launch(AddKernel, 1, 2, 0, stream_, x.data(), add, y.data());
  add = 99;  // arguments are those of the capture
  EXPECT_EQ(cudaMemcpyAsync(z.data(), y.data(), 8, cudaMemcpyDeviceToDevice, stream_), cudaSuccess);
  EXPECT_EQ(cudaMemsetAsync(x.data(), 0, 4, stream_), cudaSuccess);
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
  EXPECT_EQ(y.Read(), (std::vector<float>{0, 0}));

  cudaGraphExec_t step = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&step, graph, 0), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaGraphLaunch(step, stream_), cudaSuccess);
  EXPECT_EQ(z.Read(), (std::vector<float>{11, 12}));
  EXPECT_EQ(x.Read(), (std::vector<float>{0, 2}));
  x.Write({5, 6});
  EXPECT_EQ(cudaGraphLaunch(step, stream_), cudaSuccess);
  EXPECT_EQ(z.Read(), (std::vector<float>{15, 16}));
  EXPECT_EQ(cudaGraphExecDestroy(step), cudaSuccess);
}

TEST_F(Capture, WhatCannotBeCapturedIsRefusedAndInvalidatesIt) {
  float* memory = nullptr;
  DeviceArray<float> x(1);
  Begin();
  EXPECT_EQ(cudaMalloc(&memory, 4), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(memory, nullptr);
  ExpectInvalid();
  Begin();
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaErrorStreamCaptureUnsupported);
  EXPECT_THROW(Launch(AddKernel, 1, 1, 0, stream_, x.data(), 1.0f, x.data()), Error);
  ExpectInvalid();
  Begin();
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaGetLastError(), cudaErrorStreamCaptureUnsupported);
  ExpectInvalid();
  Begin(cudaStreamCaptureModeRelaxed);
  EXPECT_EQ(cudaMalloc(&memory, 4), cudaSuccess);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
}

TEST_F(Capture, TheDefaultStreamWaitsForBlockingStreams) {
  DeviceArray<float> x(1);
  Begin();  // not a blocking one
  x.Poison();
  cudaStream_t blocking = nullptr;
  ASSERT_EQ(cudaStreamCreate(&blocking), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_EQ(cudaMemsetAsync(x.data(), 0, 4, nullptr), cudaErrorStreamCaptureImplicit);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(blocking, &graph), cudaErrorStreamCaptureInvalidated);
  EXPECT_EQ(cudaStreamDestroy(blocking), cudaSuccess);
  EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaErrorIllegalState);
  EXPECT_EQ(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal),
            cudaErrorStreamCaptureUnsupported);
  cudaGetLastError();
}

TEST_F(Capture, AReplayCanBeCapturedItself) {
  DeviceArray<float> x(std::vector<float>{1});
  const auto instantiate = [&] {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t step = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
    EXPECT_EQ(cudaGraphInstantiate(&step, graph), cudaSuccess);
    cudaGraphDestroy(graph);
    return step;
  };
  Begin();
  Launch(AddKernel, 1, 1, 0, stream_, x.data(), 1.0f, x.data());
  cudaGraphExec_t once = instantiate();
  Begin();
  cudaGraphLaunch(once, stream_);
  cudaGraphLaunch(once, stream_);
  cudaGraphExec_t twice = instantiate();
  EXPECT_EQ(x.Read()[0], 1);
  cudaGraphLaunch(twice, stream_);
  EXPECT_EQ(x.Read()[0], 3);
  cudaGraphExecDestroy(once);
  cudaGraphExecDestroy(twice);
}

TEST(Runtime, MemoryIsFullOfNaNAndCopiesKnowWhereItLies) {
  float* device = nullptr;
  float* pinned = nullptr;
  float host = 1;
  ASSERT_EQ(cudaMalloc(&device, sizeof(float)), cudaSuccess);
  ASSERT_EQ(cudaHostAlloc(&pinned, sizeof(float), cudaHostAllocDefault), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(&host, device, 4, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_TRUE(std::isnan(host));
  EXPECT_EQ(cudaMemcpy(pinned, &host, 4, cudaMemcpyHostToDevice), cudaErrorInvalidMemcpyDirection);
  EXPECT_EQ(cudaMemcpy(device, pinned, 4, cudaMemcpyDeviceToHost), cudaErrorInvalidMemcpyDirection);
  EXPECT_EQ(cudaMemset(pinned, 0, 4), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(device), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
  EXPECT_EQ(cudaFree(nullptr), cudaSuccess);
  cudaGetLastError();
}

TEST(Runtime, TheLastErrorIsKeptUntilItIsAskedFor) {
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(cudaMemset(nullptr, 0, 4), cudaErrorInvalidValue);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(cudaPeekAtLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_STREQ(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory");
  EXPECT_STREQ(cudaGetErrorName(cudaErrorInvalidValue), "cudaErrorInvalidValue");
}

TEST(Runtime, ALaunchTellsWhatFailedBeforeItAndNothingTwice) {
  DeviceArray<float> x(std::vector<float>{1});
  const auto launch = [&](int threads) {
    Launch(AddKernel, 1, threads, 0, nullptr, x.data(), 1.0f, x.data());
  };
  EXPECT_EQ(cudaMemset(nullptr, 0, 4), cudaErrorInvalidValue);
  EXPECT_THROW(launch(1), Error);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_THROW(launch(2000), Error);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_NO_THROW(launch(1));
}

TEST(Runtime, EventsTakeTheTime) {
  cudaEvent_t start = nullptr, end = nullptr;
  ASSERT_EQ(cudaEventCreate(&start), cudaSuccess);
  ASSERT_EQ(cudaEventCreate(&end), cudaSuccess);
  float milliseconds = -1;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, start, end), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventRecord(start), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(end), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(nullptr, end), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(end), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, start, end), cudaSuccess);
  EXPECT_GE(milliseconds, 0);
  EXPECT_EQ(cudaEventDestroy(start), cudaSuccess);
  EXPECT_EQ(cudaEventDestroy(end), cudaSuccess);
  cudaGetLastError();
}

TEST(Runtime, LateStreamsDoWhatIsWaitedForAndSometimesNoMore) {
  constexpr int kTries = 50;
  const Stream first, second, third;
  Event copied;
  const PinnedMemory pinned(4);
  const DeviceArray<int32_t> x(1), y(1), z(1);
  const auto copy = [](const Stream& stream, const void* from, int32_t* to) {
    ASSERT_EQ(cudaMemcpyAsync(to, from, 4, cudaMemcpyDefault, stream.get()), cudaSuccess);
  };
  int late = 0, overtaken = 0;
  const WithLateStreams late_streams;
  for (int32_t i = 1; i <= kTries; ++i) {
    std::memcpy(pinned.data(), &i, 4);
    copy(first, pinned.data(), x.data());
    copied.Record(first);
    late += *x.data() != i;  // the machine's device memory is the host's
    copied.HoldBack(second);
    copy(second, x.data(), y.data());
    copy(third, x.data(), z.data());  // waits for nothing
    third.Synchronize();
    second.Synchronize();
    EXPECT_EQ(*y.data(), i);
    overtaken += *z.data() != i;
  }
  EXPECT_GT(late, 0);
  EXPECT_LT(late, kTries);
  EXPECT_GT(overtaken, 0);
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
