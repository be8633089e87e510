#include <algorithm>

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/instructions.h"
#include "kernels/cuda/launch.h"
#include "tests/kernels/cuda/support/device_array.h"
#include "tests/kernels/cuda/support/peaks.h"
#include "tests/kernels/cuda/support/timing.h"

namespace trainyard::kernels::cuda::testing {
namespace {

constexpr int kThreads = 256;
constexpr int kChains = 16;                  // independent multiply-adds of a thread
constexpr int kTiles = 8;                    // independent matrix products of a warp
constexpr double kTileFlops = 2.0 * 16 * 8;  // for each step of the inner dimension

__global__ void __launch_bounds__(kThreads)
    MultiplyAddKernel(int rounds, float factor, float* __restrict__ sums) {
  float chain[kChains];
#pragma unroll
  for (int i = 0; i < kChains; ++i) chain[i] = static_cast<float>(threadIdx.x + i);
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kChains; ++i) chain[i] = chain[i] * factor + 1.0f;
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kChains; ++i) sum += chain[i];
  sums[blockIdx.x * kThreads + threadIdx.x] = sum;
}

// Values between -1 and 1 that differ from lane to lane: on zeros, tensor cores run faster.
__device__ __forceinline__ float Draw(unsigned index) {
  return static_cast<float>((threadIdx.x * 8 + index) * 2654435761u >> 8) * 0x1p-23f - 1.0f;
}

template <bool kIsBf16>
__global__ void __launch_bounds__(kThreads) MmaKernel(int rounds, float* __restrict__ sums) {
  uint32_t a[4], b[2];
#pragma unroll
  for (int i = 0; i < 4; ++i) a[i] = kIsBf16 ? PackBf16(Draw(i), Draw(i + 4)) : ToTf32(Draw(i));
#pragma unroll
  for (int i = 0; i < 2; ++i)
    b[i] = kIsBf16 ? PackBf16(Draw(i + 1), Draw(i + 2)) : ToTf32(Draw(i + 1));
  float tile[kTiles][4] = {};
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      if constexpr (kIsBf16) {
        MmaBf16(tile[i], a, b);
      } else {
        MmaTf32(tile[i], a, b);
      }
    }
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kTiles; ++i) sum += tile[i][0] + tile[i][1] + tile[i][2] + tile[i][3];
  sums[blockIdx.x * kThreads + threadIdx.x] = sum;
}

double Rate(double amount, double seconds) { return seconds > 0 ? amount / seconds : 0; }

}  // namespace

Peaks MeasurePeaks(bool small) {
  const unsigned blocks = small ? 1 : 2048;
  const int rounds = small ? 2 : 2048;
  const int64_t copied = int64_t{1} << (small ? 10 : 30);
  Peaks peaks;
  {
    const DeviceArray<uint8_t> from(copied), to(copied);
    const double seconds = SecondsPerLaunch([&](cudaStream_t stream) {
      CheckCuda(cudaMemcpyAsync(to.data(), from.data(), copied, cudaMemcpyDeviceToDevice, stream),
                "copying within the device");
    });
    peaks.bytes_per_second = Rate(2.0 * copied, seconds);
    // The driver may give its own copy to an engine that is slower than all multiprocessors.
    const double seconds_of_kernel = SecondsPerLaunch([&](cudaStream_t stream) {
      ActivationForward(reinterpret_cast<const float*>(from.data()), Activation{},
                        copied / int64_t{sizeof(float)}, reinterpret_cast<float*>(to.data()),
                        stream);
    });
    peaks.bytes_per_second =
        std::max(peaks.bytes_per_second, Rate(2.0 * copied, seconds_of_kernel));
  }
  const DeviceArray<float> sums(int64_t{blocks} * kThreads);
  const double threads = double{kThreads} * blocks, warps = threads / 32;
  peaks.fp32 =
      Rate(2.0 * threads * kChains * rounds, SecondsPerLaunch([&](cudaStream_t stream) {
             Launch(MultiplyAddKernel, blocks, kThreads, 0, stream, rounds, 0.999f, sums.data());
           }));
  const double tiles = warps * kTiles * rounds;
  peaks.tf32 = Rate(tiles * kTileFlops * 8, SecondsPerLaunch([&](cudaStream_t stream) {
                      Launch(MmaKernel<false>, blocks, kThreads, 0, stream, rounds, sums.data());
                    }));
  peaks.bf16 = Rate(tiles * kTileFlops * 16, SecondsPerLaunch([&](cudaStream_t stream) {
                      Launch(MmaKernel<true>, blocks, kThreads, 0, stream, rounds, sums.data());
                    }));
  return peaks;
}

}  // namespace trainyard::kernels::cuda::testing
