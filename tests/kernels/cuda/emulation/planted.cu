// A line that ends in "planted: NAME" is where that mistake is, for those that have a line.
#include "kernels/backend.h"
#include "kernels/cuda/instructions.h"
#include "kernels/cuda/launch.h"
#include "tests/kernels/cuda/emulation/planted.h"
#include "tests/kernels/cuda/support/device_array.h"

namespace trainyard::kernels::cuda::testing {
namespace {

constexpr int kThreads = 64;

std::vector<float> Counting(int count, float first, float step) {
  std::vector<float> values(count);
  for (int i = 0; i < count; ++i) values[i] = first + step * static_cast<float>(i);
  return values;
}
const std::vector<float> kReversed = Counting(kThreads, kThreads - 1, -1);

template <typename Kernel>
std::vector<float> Run(Kernel kernel, int blocks, int threads, size_t shared_bytes, bool wrong,
                       int count) {
  DeviceArray<float> out(std::vector<float>(count, 0.0f));
  Launch(kernel, blocks, threads, shared_bytes, nullptr, wrong, out.data());
  return out.Read();
}

__global__ void MissingBarrierKernel(bool wrong, float* out) {
  KERNEL_SHARED(float, tile, [kThreads]);
  tile[threadIdx.x] = threadIdx.x;
  if (!wrong) __syncthreads();
  out[threadIdx.x] = tile[kThreads - 1 - threadIdx.x];  // planted: missing barrier
}

__global__ void MissingWarpBarrierKernel(bool wrong, float* out) {
  KERNEL_SHARED(float, tile, [32]);
  tile[threadIdx.x] = threadIdx.x;
  if (!wrong) __syncwarp();
  out[threadIdx.x] = tile[31 - threadIdx.x];  // planted: missing warp barrier
}

__global__ void SilentRaceKernel(bool wrong, float* out) {
  if (threadIdx.x == 0 || (wrong && threadIdx.x == 1)) {
    out[0] = 5;  // planted: silent race
  }
}

__global__ void BlocksRaceKernel(bool wrong, float* out) {
  __syncthreads();
  if (threadIdx.x == 0) {
    out[wrong ? 0 : blockIdx.x] = 5;  // planted: race between blocks
  }
  __syncthreads();
}

__global__ void MissingCopyWaitKernel(bool wrong, float* out) {
  KERNEL_SHARED(float, tile, [32]);
  tile[threadIdx.x] = 7;  // what a look at the past would find
  AsyncCopy<4>(&tile[threadIdx.x], out + threadIdx.x);
  AsyncCommit();
  if (!wrong) AsyncWait<0>();
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x] + 1;
}

// Another thread's element, of which its own wait says nothing.
__global__ void MissingBarrierAfterWaitKernel(bool wrong, float* out) {
  KERNEL_SHARED(float, tile, [kThreads]);
  AsyncCopy<4>(&tile[threadIdx.x], out + threadIdx.x);
  AsyncCommit();
  AsyncWait<0>();
  if (!wrong) __syncthreads();
  const float other = tile[kThreads - 1 - threadIdx.x];  // planted: missing barrier after a wait
  out[threadIdx.x] = other + 1;
}

__global__ void ChangedSourceKernel(bool wrong, float* out) {
  KERNEL_SHARED(float, tile, [32]);
  AsyncCopy<4>(&tile[threadIdx.x], out + threadIdx.x);
  AsyncCommit();
  if (wrong && threadIdx.x == 3) out[threadIdx.x] = 7;
  AsyncWait<0>();
  out[threadIdx.x] = tile[threadIdx.x] + 1;
}

// By another thread, when the copy has started for sure, to what was there before.
__global__ void RaceForSourceKernel(bool wrong, float* out) {
  KERNEL_SHARED(float, tile, [32]);
  AsyncCopy<4>(&tile[threadIdx.x], out + threadIdx.x);
  AsyncCommit();
  __syncthreads();
  if (wrong) out[31 - threadIdx.x] = 0;  // planted: race for the source of a copy
  AsyncWait<0>();
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x] + 1;
}

__global__ void AddOneKernel(const float* in, float* out) {
  out[threadIdx.x] = in[threadIdx.x] + 1;
}

__global__ void UninitialisedKernel(bool wrong, float* out) {
  KERNEL_SHARED(float, tile, [32]);
  if (threadIdx.x != 3 || !wrong) tile[threadIdx.x] = 2;
  out[threadIdx.x] = tile[threadIdx.x];
}

__global__ void SharedOverrunKernel(bool wrong, float* out) {
  KERNEL_DYNAMIC_SHARED(float, tile);
  tile[threadIdx.x + (wrong ? 1 : 0)] = 1;  // planted: overrun of dynamic shared memory
  out[threadIdx.x] = 1;
}

__global__ void StaticOverrunKernel(bool wrong, float* out) {
  KERNEL_SHARED(float, tile, [32]);
  tile[threadIdx.x + (wrong ? 1 : 0)] = 1;  // planted: overrun of static shared memory
  out[threadIdx.x] = 1;
}

__global__ void GlobalOverrunKernel(bool wrong, float* out) {
  const int i = static_cast<int>(threadIdx.x) + (wrong ? 1 : 0);
  out[i] = 1;  // planted: overrun of global memory
}

__global__ void MisalignedVectorKernel(bool wrong, float* out) {
  const float* first = out + (wrong ? 1 : 4);
  const float4 four = *reinterpret_cast<const float4*>(first);  // planted: misaligned vector
  out[threadIdx.x] = four.x + four.w;
}

__global__ void UnalignedTileKernel(bool wrong, float* out) {
  KERNEL_SHARED(float, unaligned, [32]);
  KERNEL_SHARED(float4, aligned, [8]);
  float4* four = wrong ? reinterpret_cast<float4*>(&unaligned[0]) : &aligned[0];
  four->x = 1;  // planted: vector in an array of floats
  out[threadIdx.x] = 1;
}

__global__ void MisalignedCopyKernel(bool wrong, float* out) {
  KERNEL_SHARED(float4, tile, [1]);
  AsyncCopy<16>(&tile[0], out + (wrong ? 1 : 0));
  AsyncCommit();
  AsyncWait<0>();
  out[threadIdx.x] = 1;
}

__global__ void MisalignedMatrixKernel(bool wrong, float* out) {
  KERNEL_SHARED(float4, rows, [33]);
  rows[threadIdx.x] = make_float4(1, 1, 1, 1);
  if (threadIdx.x == 0) rows[32] = make_float4(1, 1, 1, 1);
  __syncthreads();
  uint32_t of_lane[4];
  LoadMatrices(of_lane, reinterpret_cast<const char*>(&rows[threadIdx.x]) + (wrong ? 8 : 0));
  out[threadIdx.x] = of_lane[0] == of_lane[1] ? 1 : 0;
}

__global__ void DeadlockKernel(bool wrong, float* out) {
  if (wrong && threadIdx.x % 2 == 0) __syncthreads();
  out[threadIdx.x] = __shfl_xor_sync(kFullWarp, 1.0f, 1);
}

__global__ void DivergentBarrierKernel(bool wrong, float* out) {
  if (wrong && threadIdx.x < 16) {
    __syncthreads();  // planted: divergent barrier
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}

__global__ void LaneOutsideMaskKernel(bool wrong, float* out) {
  out[threadIdx.x] = __shfl_sync(wrong ? 0x0000ffffu : kFullWarp, 1.0f, 0);
}

__global__ void DifferentOperationsKernel(bool wrong, float* out) {
  if (wrong && threadIdx.x < 16) {
    out[threadIdx.x] = __shfl_xor_sync(kFullWarp, 1.0f, 1);
  } else {
    out[threadIdx.x] = __shfl_down_sync(kFullWarp, 1.0f, 1);
  }
}

__global__ void DivergentMmaKernel(bool wrong, bool tf32, float* out) {
  const uint32_t a[4] = {}, b[2] = {};
  float d[4] = {1, 1, 1, 1};
  if (tf32) {
    if (wrong && threadIdx.x < 16) {
      MmaTf32(d, a, b);
    } else {
      MmaTf32(d, a, b);
    }
  } else if (wrong && threadIdx.x < 16) {
    MmaBf16(d, a, b);
  } else {
    MmaBf16(d, a, b);
  }
  out[threadIdx.x] = d[0];
}

__global__ void DivergentMatrixKernel(bool wrong, bool transposed, float* out) {
  KERNEL_SHARED(float4, rows, [32]);
  rows[threadIdx.x] = make_float4(1, 1, 1, 1);
  __syncthreads();
  uint32_t of_lane[4];
  if (transposed) {
    if (wrong && threadIdx.x < 16) {
      LoadMatricesTransposed(of_lane, &rows[threadIdx.x]);
    } else {
      LoadMatricesTransposed(of_lane, &rows[threadIdx.x]);
    }
  } else if (wrong && threadIdx.x < 16) {
    LoadMatrices(of_lane, &rows[threadIdx.x]);
  } else {
    LoadMatrices(of_lane, &rows[threadIdx.x]);
  }
  out[threadIdx.x] = of_lane[0] == of_lane[1] ? 1 : 0;
}

template <int kFloats>
__global__ void StaticSharedKernel(bool, float* out) {
  KERNEL_SHARED(float, tile, [kFloats]);
  tile[threadIdx.x] = 1;
  out[threadIdx.x] = tile[threadIdx.x];
}

__global__ void DynamicSharedKernel(bool, float* out) {
  KERNEL_DYNAMIC_SHARED(float, tile);
  tile[threadIdx.x] = 1;
  out[threadIdx.x] = tile[threadIdx.x];
}

// More than a float can add without rounding, so that the order shows.
__global__ void FloatAtomicsKernel(bool wrong, float* out) {
  const float value = threadIdx.x == 0 ? 16777216.0f : 1.0f;
  if (wrong) {
    atomicAdd(out, value);
  } else if (threadIdx.x == 0) {
    out[0] = 16777216.0f + 31;
  }
}

// Reached through volatile, or the compiler would see that it never ends.
float Deeper(volatile int* depth) {
  volatile char frame[4096];
  frame[static_cast<unsigned>(*depth) % 4096] = 1;
  *depth = *depth + 1;
  return *depth > 0 ? Deeper(depth) + frame[0] : 0;
}

__global__ void StackOverflowKernel(bool wrong, float* out) {
  volatile int depth = wrong ? 1 : -2;
  out[threadIdx.x] = 1 + Deeper(&depth);
}

template <auto kKernel, int kBlocks, int kBlockThreads, size_t kSharedBytes, int kCount>
std::vector<float> RunKernel(bool wrong) {
  return Run(kKernel, kBlocks, kBlockThreads, kSharedBytes, wrong, kCount);
}

// Of both kinds of an instruction.
template <auto kKernel, bool kSecondKind>
std::vector<float> RunDivergent(bool wrong) {
  DeviceArray<float> out(32);
  Launch(kKernel, 1, 32, 0, nullptr, wrong, kSecondKind, out.data());
  return out.Read();
}

std::vector<float> UninitialisedGlobal(bool wrong) {
  float* memory = nullptr;
  CheckCuda(cudaMalloc(&memory, 32 * sizeof(float)), "cudaMalloc");
  if (!wrong) CheckCuda(cudaMemset(memory, 0, 32 * sizeof(float)), "cudaMemset");
  DeviceArray<float> out(32);
  Launch(AddOneKernel, 1, 32, 0, nullptr, memory, out.data());
  CheckCuda(cudaFree(memory), "cudaFree");
  return out.Read();
}

std::vector<float> StaticShared(bool wrong) {
  return wrong ? Run(StaticSharedKernel<48 * 256 + 1>, 1, 32, 0, wrong, 32)
               : Run(StaticSharedKernel<48 * 256>, 1, 32, 0, wrong, 32);
}

std::vector<float> DynamicShared(bool wrong) {
  return Run(DynamicSharedKernel, 1, 32, 48 * 1024 + (wrong ? 1 : 0), wrong, 32);
}

std::vector<float> RaisedShared(bool wrong) {
  AllowShared(StaticSharedKernel<1>, (wrong ? 100 : 99) * 1024);
  return std::vector<float>(32, 1.0f);
}

std::vector<float> NoDynamicShared(bool wrong) {
  return Run(DynamicSharedKernel, 1, 32, wrong ? 0 : 128, wrong, 32);
}

std::vector<float> LargeBlock(bool wrong) {
  return Run(StaticSharedKernel<2048>, 1, wrong ? 1025 : 32, 0, wrong, 32);
}

std::vector<float> EmptyGrid(bool wrong) {
  return Run(StaticSharedKernel<32>, wrong ? 0 : 1, 32, 0, wrong, 32);
}

std::vector<float> DoubleFree(bool wrong) {
  float* memory = nullptr;
  CheckCuda(cudaMalloc(&memory, 128), "cudaMalloc");
  CheckCuda(cudaFree(memory), "cudaFree");
  if (wrong) CheckCuda(cudaFree(memory), "cudaFree again");
  return {};
}

std::vector<float> Leak(bool wrong) {
  float* memory = nullptr;
  CheckCuda(cudaMalloc(&memory, 4711), "cudaMalloc");
  if (!wrong) CheckCuda(cudaFree(memory), "cudaFree");
  return {};
}

}  // namespace

const std::vector<Planted>& AllPlanted() {
  const std::vector<float> ones(32, 1.0f);
  static const std::vector<Planted> all = {
      {"missing barrier", RunKernel<MissingBarrierKernel, 1, kThreads, 0, kThreads>, kReversed},
      {"missing warp barrier", RunKernel<MissingWarpBarrierKernel, 1, 32, 0, 32>,
       Counting(32, 31, -1)},
      {"silent race", RunKernel<SilentRaceKernel, 1, 32, 0, 1>, {5}},
      {"race between blocks", RunKernel<BlocksRaceKernel, 2, 32, 0, 2>, {5, 5}},
      {"missing copy wait", RunKernel<MissingCopyWaitKernel, 1, 32, 0, 32>, ones},
      {"missing barrier after a wait",
       RunKernel<MissingBarrierAfterWaitKernel, 1, kThreads, 0, kThreads>,
       std::vector<float>(kThreads, 1.0f)},
      {"changed source of a copy", RunKernel<ChangedSourceKernel, 1, 32, 0, 32>, ones},
      {"race for the source of a copy", RunKernel<RaceForSourceKernel, 1, 32, 0, 32>, ones},
      {"uninitialised global memory", UninitialisedGlobal, ones},
      {"uninitialised", RunKernel<UninitialisedKernel, 1, 32, 0, 32>, std::vector<float>(32, 2.0f)},
      {"overrun of dynamic shared memory", RunKernel<SharedOverrunKernel, 1, 32, 128, 32>, ones},
      {"overrun of static shared memory", RunKernel<StaticOverrunKernel, 1, 32, 0, 32>, ones},
      {"overrun of global memory", RunKernel<GlobalOverrunKernel, 1, 32, 0, 32>, ones},
      {"misaligned vector", RunKernel<MisalignedVectorKernel, 1, 1, 0, 8>,
       std::vector<float>(8, 0.0f)},
      {"vector in an array of floats", RunKernel<UnalignedTileKernel, 1, 1, 0, 1>, {1}},
      {"misaligned copy", RunKernel<MisalignedCopyKernel, 1, 1, 0, 8>, {1, 0, 0, 0, 0, 0, 0, 0}},
      {"misaligned matrix", RunKernel<MisalignedMatrixKernel, 1, 32, 0, 32>, ones},
      {"deadlock", RunKernel<DeadlockKernel, 1, 32, 0, 32>, ones},
      {"divergent barrier", RunKernel<DivergentBarrierKernel, 1, 32, 0, 32>, ones},
      {"lane outside its mask", RunKernel<LaneOutsideMaskKernel, 1, 32, 0, 32>, ones},
      {"different operations", RunKernel<DifferentOperationsKernel, 1, 32, 0, 32>, ones},
      {"divergent mma (bf16)", RunDivergent<DivergentMmaKernel, false>, ones},
      {"divergent mma (tf32)", RunDivergent<DivergentMmaKernel, true>, ones},
      {"divergent ldmatrix", RunDivergent<DivergentMatrixKernel, false>, ones},
      {"divergent ldmatrix.trans", RunDivergent<DivergentMatrixKernel, true>, ones},
      {"static shared memory", StaticShared, ones},
      {"dynamic shared memory", DynamicShared, ones},
      {"raised shared memory", RaisedShared, ones},
      {"no dynamic shared memory", NoDynamicShared, ones},
      {"large block", LargeBlock, ones},
      {"empty grid", EmptyGrid, ones},
      {"float atomics", RunKernel<FloatAtomicsKernel, 1, 32, 0, 1>, {16777216.0f + 31}},
      {"stack overflow", RunKernel<StackOverflowKernel, 1, 1, 0, 1>, {1}},
      {"double free", DoubleFree, {}},
      {"leak", Leak, {}},
  };
  return all;
}

const Planted& FindPlanted(const std::string& name) {
  for (const Planted& planted : AllPlanted()) {
    if (planted.name == name) return planted;
  }
  throw Error("nothing planted is called " + name);
}

}  // namespace trainyard::kernels::cuda::testing
