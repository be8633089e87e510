// The emulated machine runs what CUDA promises: threads, barriers, warp operations, shared memory
// and atomics, in each order that a schedule can ask for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <thread>

#include "kernels/backend.h"
#include "kernels/cuda/instructions.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.h"
#include "tests/kernels/cuda/support/kernel_case.h"
#include "tests/kernels/cuda/support/schedules.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using emulation::Order;
using ::testing::Each;
using ::testing::HasSubstr;

// What `kernel(out)` writes, which must be the same under every schedule.
template <typename T, typename Kernel>
std::vector<T> RunEverywhere(Kernel kernel, dim3 grid, dim3 block, int64_t count,
                             size_t shared_bytes = 0) {
  std::vector<T> first;
  for (int number = 0; number < kScheduleCount; ++number) {
    const WithSchedule schedule(number);
    DeviceArray<T> out(std::vector<T>(count, T{0}));
    Launch(kernel, grid, block, shared_bytes, nullptr, out.data());
    if (first.empty()) first = out.Read();
    EXPECT_EQ(out.Read(), first);
  }
  return first;
}

template <typename T>
std::vector<T> Generate(int count, T (*value)(int)) {
  std::vector<T> values(count);
  for (int i = 0; i < count; ++i) values[i] = value(i);
  return values;
}

__global__ void PositionsKernel(int* out) {
  const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] += block * 1000 + thread;
}

TEST(Machine, EveryThreadOfEveryDimensionRunsOnce) {
  for (const dim3 grid : {dim3(5), dim3(2, 3), dim3(2, 1, 3)}) {
    for (const dim3 block : {dim3(1), dim3(70), dim3(5, 7), dim3(3, 2, 5)}) {
      const int blocks = grid.x * grid.y * grid.z, threads = block.x * block.y * block.z;
      std::vector<int> expected;
      for (int i = 0; i < blocks * threads; ++i)
        expected.push_back(i / threads * 1000 + i % threads);
      EXPECT_EQ(RunEverywhere<int>(PositionsKernel, grid, block, blocks * threads), expected);
    }
  }
}

// Each round needs what all others wrote in the round before.
__global__ void RotateKernel(int* out) {
  KERNEL_SHARED(int, ring, [2][1024]);
  const unsigned count = blockDim.x;
  int value = static_cast<int>(threadIdx.x);
  for (int round = 0; round < 5; ++round) {
    ring[round % 2][threadIdx.x] = value;
    __syncthreads();
    value = ring[round % 2][(threadIdx.x + 1) % count];
  }
  out[blockIdx.x * count + threadIdx.x] = value;
}

TEST(Machine, BarriersHoldAllThreadsOfABlock) {
  for (int threads : {1, 31, 33, kSmallShapes ? 96 : 1024}) {
    std::vector<int> expected;
    for (int i = 0; i < 2 * threads; ++i) expected.push_back((i % threads + 5) % threads);
    EXPECT_EQ(RunEverywhere<int>(RotateKernel, 2, threads, 2 * threads), expected);
  }
}

__global__ void EarlyExitKernel(int* out) {
  KERNEL_SHARED(int, tile, [64]);
  if (threadIdx.x % 3 == 0) return;
  tile[threadIdx.x] = 1;
  __syncthreads();
  // Lanes that have exited are not waited for.
  const unsigned votes = __ballot_sync(kFullWarp, 1);
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x] + __popc(votes);
}

TEST(Machine, ThreadsMayLeaveBeforeBarriers) {
  std::vector<int> expected(64);
  for (int i = 0; i < 64; ++i) expected[i] = i % 3 == 0 ? 0 : 1 + 21;
  EXPECT_EQ(RunEverywhere<int>(EarlyExitKernel, 1, 64, 64), expected);
}

enum ShuffleOutput { kIndexed, kUp, kDown, kXor, kIndexed8, kUp8, kDown8, kXor8, kShuffles };

__global__ void ShufflesKernel(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  int* of_lane = out + lane * kShuffles;
  of_lane[kIndexed] = __shfl_sync(kFullWarp, lane, 35);
  of_lane[kUp] = __shfl_up_sync(kFullWarp, lane, 3);
  of_lane[kDown] = __shfl_down_sync(kFullWarp, lane, 3);
  of_lane[kXor] = __shfl_xor_sync(kFullWarp, lane, 5);
  of_lane[kIndexed8] = __shfl_sync(kFullWarp, lane, lane + 1, 8);
  of_lane[kUp8] = __shfl_up_sync(kFullWarp, lane, 3, 8);
  of_lane[kDown8] = __shfl_down_sync(kFullWarp, lane, 3, 8);
  of_lane[kXor8] = __shfl_xor_sync(kFullWarp, lane, 9, 8);
}

TEST(Machine, ShufflesOfAllKindsAndWidths) {
  const auto found = RunEverywhere<int>(ShufflesKernel, 1, 32, 32 * kShuffles);
  for (int lane = 0; lane < 32; ++lane) {
    const int* of_lane = found.data() + lane * kShuffles;
    const int first = lane / 8 * 8;
    EXPECT_EQ(of_lane[kIndexed], 3);
    EXPECT_EQ(of_lane[kUp], lane < 3 ? lane : lane - 3);
    EXPECT_EQ(of_lane[kDown], lane + 3 > 31 ? lane : lane + 3);
    EXPECT_EQ(of_lane[kXor], lane ^ 5);
    EXPECT_EQ(of_lane[kIndexed8], first + (lane + 1) % 8);
    EXPECT_EQ(of_lane[kUp8], lane - first < 3 ? lane : lane - 3);
    EXPECT_EQ(of_lane[kDown8], lane - first + 3 > 7 ? lane : lane + 3);
    // Beyond the segment a lane keeps its own, before it the other's is read.
    EXPECT_EQ(of_lane[kXor8], (lane ^ 9) > first + 7 ? lane : lane ^ 9);
  }
}

// The halves of a warp, each by itself, and then both.
__global__ void PartialMasksKernel(int* out) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int value;
  if (lane < 16) {
    value = __shfl_xor_sync(0x0000ffffu, lane, 15) + 100 * __any_sync(0x0000ffffu, lane == 3);
  } else {
    value = __shfl_down_sync(0xffff0000u, lane, 1) + 100 * __all_sync(0xffff0000u, lane > 16);
    __syncwarp(0xffff0000u);
  }
  out[threadIdx.x] = value + __shfl_sync(kFullWarp, 1000 * lane, 7);
}

TEST(Machine, PartialMasksMeetByThemselves) {
  EXPECT_EQ(RunEverywhere<int>(PartialMasksKernel, 1, 64, 64), Generate<int>(64, [](int i) {
              const int lane = i % 32;
              return 7000 + (lane < 16 ? (lane ^ 15) + 100 : std::min(lane + 1, 31));
            }));
}

// The last warp has eight lanes: the others are neither waited for nor counted.
__global__ void PartialWarpKernel(int* out) {
  const bool last = threadIdx.x >= 32;
  const unsigned active = __activemask();
  const int all = __all_sync(kFullWarp, 1), any = __any_sync(kFullWarp, threadIdx.x == 39);
  const float beyond = __shfl_sync(kFullWarp, 1.0f, 20);
  out[threadIdx.x] = all + 2 * any + (last == isnan(beyond) ? 4 : 0) +
                     (active == (last ? 0xffu : kFullWarp) ? 8 : 0);
}

TEST(Machine, PartialWarps) {
  const auto found = RunEverywhere<int>(PartialWarpKernel, 1, 40, 40);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(found[i], 1 + (i < 32 ? 0 : 2) + 4 + 8);
}

__global__ void DoubleShuffleKernel(double* out) {
  out[threadIdx.x] = WarpSum(1.0 + 1e-12 * threadIdx.x);
}

TEST(Machine, ShufflesMoveEightBytes) {
  EXPECT_THAT(RunEverywhere<double>(DoubleShuffleKernel, 1, 32, 32),
              Each(::testing::DoubleNear(32 + 496e-12, 1e-13)));
}

__global__ void SharedKernel(float* out) {
  KERNEL_SHARED(float, one, [32]);
  KERNEL_SHARED(double, two, [4]);
  KERNEL_DYNAMIC_SHARED(float, three);
  const bool poisoned =
      isnan(one[threadIdx.x]) && isnan(two[threadIdx.x % 4]) && isnan(three[threadIdx.x]);
  __syncthreads();
  one[threadIdx.x] = 1;
  if (threadIdx.x < 4) two[threadIdx.x] = 2;
  three[threadIdx.x] = 3;
  __syncthreads();
  out[blockIdx.x * 32 + threadIdx.x] = poisoned ? one[31 - threadIdx.x] +
                                                      static_cast<float>(two[threadIdx.x % 4]) +
                                                      three[31 - threadIdx.x]
                                                : -1;
}

TEST(Machine, SharedMemoryIsNaNWhenABlockStarts) {
  EXPECT_THAT(RunEverywhere<float>(SharedKernel, 4, 32, 128, 128), Each(6.0f));
}

__global__ void LargeSharedKernel(float* out) {
  KERNEL_DYNAMIC_SHARED(float, all);
  all[99 * 256 - 1 - threadIdx.x] = 1;
  out[threadIdx.x] = all[99 * 256 - 1 - threadIdx.x];
}

TEST(Machine, AllowSharedRaisesTheLimit) {
  AllowShared(LargeSharedKernel, 99 * 1024);
  EXPECT_THAT(RunEverywhere<float>(LargeSharedKernel, 1, 32, 32, 99 * 1024), Each(1.0f));
}

__global__ void BlockSumKernel(float* out) {
  float sum = 0;
  for (int i = 0; i < 3; ++i) {
    const float of_block = BlockSum<128>(static_cast<float>(threadIdx.x + blockIdx.x));
    if (threadIdx.x == 0) sum += of_block;
  }
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

TEST(Machine, SumsOverBlocks) {
  EXPECT_EQ(RunEverywhere<float>(BlockSumKernel, 3, 128, 3), Generate<float>(3, [](int i) {
              return 3.0f * static_cast<float>(127 * 64 + 128 * i);
            }));
}

__global__ void AtomicsKernel(unsigned* out) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(&out[0], 1u);
  atomicMax(&out[1], i);
  atomicMin(&out[2], i);
  atomicOr(&out[3], 1u << (i % 32));
  atomicXor(&out[4], i);
  atomicCAS(&out[5], 0u, 9u);
  atomicSub(&out[6], 2u);
}

TEST(Machine, IntegerAtomics) {
  const auto found = RunEverywhere<unsigned>(AtomicsKernel, 4, 64, 7);
  EXPECT_EQ(found, (std::vector<unsigned>{256, 255, 0, 0xffffffffu, 0, 9, 0u - 512}));
}

// In which order threads and blocks come, through an atomic counter.
__global__ void OrderKernel(int* counter, int* order) {
  order[atomicAdd(counter, 1)] = static_cast<int>(blockIdx.x * 1000 + threadIdx.x);
  __syncthreads();
  order[atomicAdd(counter, 1)] = static_cast<int>(blockIdx.x * 1000 + threadIdx.x);
}

std::vector<int> FindOrder() {
  DeviceArray<int> counter(std::vector<int>{0}), order(4 * 2 * 33);
  Launch(OrderKernel, 4, 33, 0, nullptr, counter.data(), order.data());
  return order.Read();
}

TEST(Machine, SchedulesDifferAndASeedGivesTheSameAgain) {
  std::vector<std::vector<int>> orders;
  for (int number = 0; number < kScheduleCount; ++number) {
    const WithSchedule schedule(number);
    orders.push_back(FindOrder());
    EXPECT_EQ(FindOrder(), orders.back());
  }
  for (size_t i = 0; i < orders.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(orders[i], orders[j]);
  }
  EXPECT_EQ(orders[0][0], 0);
  EXPECT_EQ(orders[1][0], 3032);
  // Blocks and threads are ordered apart from each other.
  emulation::schedule = {Order::kForward, Order::kReverse, 1};
  const auto mixed = FindOrder();
  emulation::schedule = {};
  EXPECT_EQ(mixed[0], 3000);
}

__global__ void ThrowingKernel(int at, int* out) {
  __syncthreads();
  if (static_cast<int>(threadIdx.x) == at) throw kernels::Error("thrown by a thread");
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = 1;
}

TEST(Machine, WhatAKernelThrowsComesOutOfItsLaunch) {
  DeviceArray<int> out(128);
  for (int number = 0; number < kScheduleCount; ++number) {
    const WithSchedule schedule(number);
    try {
      Launch(ThrowingKernel, 2, 64, 0, nullptr, 17, out.data());
      ADD_FAILURE();
    } catch (const kernels::Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("thrown by a thread"));
    }
    Launch(ThrowingKernel, 2, 64, 0, nullptr, -1, out.data());
    EXPECT_THAT(out.Read(), Each(1));
  }
}

TEST(Machine, EachThreadOfTheHostHasItsOwn) {
  std::vector<std::vector<float>> found(3);
  std::vector<std::thread> threads;
  for (auto& result : found) {
    threads.emplace_back([&result] {
      DeviceArray<float> out(std::vector<float>(3, 0.0f));
      Launch(BlockSumKernel, 3, 128, 0, nullptr, out.data());
      result = out.Read();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : found) EXPECT_EQ(result, found[0]);
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
