#include <algorithm>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/add_pieces.h"
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/first_conv.h"
#include "kernels/cuda/first_conv_tiles.h"
#include "kernels/cuda/instructions.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vectors.h"

namespace trainyard::kernels::cuda {
namespace {

constexpr int kChannelsMax = 4, kDepthMax = 256;  // what the shared memory below is enough for
constexpr int kForwardThreads = 128;
// Enough blocks to fill a large GPU twice, and once; enough tiles to be worth a block's beginning
// and end.
constexpr int kForwardBlocks = 1056, kForwardTiles = 2;
constexpr int kFilterBlocks = 264, kFilterTiles = 4;

// kCount neighbouring filters of one pixel; those from out_c on are left out.
template <typename T, int kCount>
__device__ __forceinline__ void StoreFilters(const Tiling& t, const float (&value)[kCount],
                                             int pixel, int filter, T* __restrict__ y) {
  static_assert(kCount == Vector<T>::kSize);
  T* to = y + pixel * t.out_c + filter;
  if (t.out_c % kCount == 0) {
    if (filter < t.out_c) Store(to, FromFloats<T>(value));
    return;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (filter + i < t.out_c) to[i] = FromFloat<T>(value[i]);
  }
}

__device__ __forceinline__ void StageBias(const float* __restrict__ bias, int first, int filters,
                                          int out_c, float* staged) {
  for (int i = threadIdx.x; i < filters; i += kForwardThreads) {
    staged[i] = bias != nullptr && first + i < out_c ? bias[first + i] : 0;
  }
}

// ---- Forward, bf16: a warp makes 32 pixels x 32 kGroups filters on tensor cores.

// In the order that filters have here, a lane's results of four products are eight neighbours of
// one pixel, which it stores with one instruction: column 2t + e of product j is filter 8t + 2j +
// e.
__device__ __forceinline__ int RowOfFilter(int filter) {
  return filter / 32 * 32 + filter % 8 / 2 * 8 + filter % 32 / 8 * 2 + filter % 2;
}

// Elements of a row of staged weights: eight too many, against bank conflicts.
__host__ __device__ constexpr int WeightRow(int depth) { return CeilDivide(depth, 16) * 16 + 8; }

// Weights in RowOfFilter's order, zeros from `depth` on, and where in a window each of them looks.
__device__ __forceinline__ void StageMatrix(const Tiling& t, int first_filter, int filters,
                                            const bf16* __restrict__ w, bf16* weights,
                                            int* offsets) {
  const int row = WeightRow(t.depth), padded = row - 8;
  for (int i = threadIdx.x; i < filters * padded; i += kForwardThreads) {
    const int filter = i / padded, k = i % padded;
    const bool valid = k < t.depth && first_filter + filter < t.out_c;
    weights[RowOfFilter(filter) * row + k] =
        valid ? w[(first_filter + filter) * t.depth + k] : bf16{0};
  }
  for (int k = threadIdx.x; k < padded; k += kForwardThreads) {
    offsets[k] = k < t.depth ? k / t.kernel_row * t.patch_row + k % t.kernel_row : 0;
  }
}

__device__ __forceinline__ uint32_t Pair(bf16 low, bf16 high) {
  return low.bits | uint32_t{high.bits} << 16;
}

// sum[m][j] += 16 pixels x 8 filters over the whole depth. starts: of the windows of this lane's
// rows (instructions.h: g and g + 8 of each m).
template <int kGroups>
__device__ __forceinline__ void MultiplyPatch(const bf16* patch, const bf16* weights,
                                              const int* offsets, int row,
                                              const int (&starts)[2][2],
                                              float (&sum)[2][4 * kGroups][4]) {
  const int lane = threadIdx.x % 32, t = lane % 4;
  // This lane's row for LoadMatrices: two products, two halves of the depth.
  const bf16* matrix = weights + (lane / 16 * 8 + lane % 8) * row + lane / 8 % 2 * 8;
  for (int k = 0; k < row - 8; k += 16) {
    const int at[4] = {offsets[k + 2 * t], offsets[k + 2 * t + 1], offsets[k + 2 * t + 8],
                       offsets[k + 2 * t + 9]};
    uint32_t a[2][4];
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bf16* window = patch + starts[m][i % 2];
        a[m][i] = Pair(window[at[i / 2 * 2]], window[at[i / 2 * 2 + 1]]);
      }
    }
#pragma unroll
    for (int j = 0; j < 4 * kGroups; j += 2) {
      uint32_t b[4];
      LoadMatrices(b, matrix + j * 8 * row + k);
      const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        MmaBf16(sum[m][j], a[m], first);
        MmaBf16(sum[m][j + 1], a[m], second);
      }
    }
  }
}

template <int kGroups>
__global__ void __launch_bounds__(kForwardThreads, 4)
    FirstConvForwardTensorKernel(Tiling t, const bf16* __restrict__ x, const bf16* __restrict__ w,
                                 const float* __restrict__ bias, Activation activation,
                                 bf16* __restrict__ y) {
  constexpr int kFilters = 32 * kGroups;
  KERNEL_DYNAMIC_SHARED(bf16, weights);
  const int row = WeightRow(t.depth);
  int* offsets = reinterpret_cast<int*>(weights + kFilters * row);
  float* of_filter = reinterpret_cast<float*>(offsets + row - 8);
  bf16* patch = reinterpret_cast<bf16*>(of_filter + kFilters);

  const int first_filter = static_cast<int>(blockIdx.x) % t.filter_groups * kFilters;
  StageMatrix(t, first_filter, kFilters, w, weights, offsets);
  StageBias(bias, first_filter, kFilters, t.out_c, of_filter);
  const int lane = threadIdx.x % 32;
  int places[2][2], starts[2][2];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    places[i / 2][i % 2] = PackPlace(t, threadIdx.x / 32 * 32 + i * 8 + lane / 4);
    starts[i / 2][i % 2] = WindowStart(t, places[i / 2][i % 2]);
  }
  const int first = static_cast<int>(blockIdx.x) / t.filter_groups * t.tiles_per_block;
  const int last = first + min(t.tiles_per_block, t.tiles - first);
  for (int index = first; index < last; ++index) {
    const Tile tile = TileAt(t, index);
    StagePatch(t, tile, x, patch);
    __syncthreads();
    float sum[2][4 * kGroups][4] = {};
    MultiplyPatch<kGroups>(patch, weights, offsets, row, starts, sum);
    __syncthreads();  // all have read the patch: the next may come
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int pixel = OutputPixel(t, tile, places[i / 2][i % 2]);
      if (pixel < 0) continue;
#pragma unroll
      for (int group = 0; group < kGroups; ++group) {
        const int filter = group * 32 + lane % 4 * 8;
        float value[8];
#pragma unroll
        for (int f = 0; f < 8; ++f) {
          value[f] = Activate(
              activation, sum[i / 2][group * 4 + f / 2][i % 2 * 2 + f % 2] + of_filter[filter + f]);
        }
        StoreFilters(t, value, pixel, first_filter + filter, y);
      }
    }
  }
}

// ---- Forward, fp32: a thread makes 4 pixels x 8 filters.

constexpr int kFp32Filters = 32;

__global__ void __launch_bounds__(kForwardThreads, 4)
    FirstConvForwardKernel(Tiling t, const float* __restrict__ x, const float* __restrict__ w,
                           const float* __restrict__ bias, Activation activation,
                           float* __restrict__ y) {
  KERNEL_DYNAMIC_SHARED(float, weights);  // [depth][filter]
  float* of_filter = weights + t.depth * kFp32Filters;
  float* patch = of_filter + kFp32Filters;
  const int first_filter = static_cast<int>(blockIdx.x) % t.filter_groups * kFp32Filters;
  for (int i = threadIdx.x; i < t.depth * kFp32Filters; i += kForwardThreads) {
    const int filter = i % kFp32Filters, k = i / kFp32Filters;
    weights[i] = first_filter + filter < t.out_c ? w[(first_filter + filter) * t.depth + k] : 0;
  }
  StageBias(bias, first_filter, kFp32Filters, t.out_c, of_filter);
  // A thread's filters: four from 4 lane % 4 on, and four sixteen further.
  const int quad = threadIdx.x % 4 * 4;
  int places[4], starts[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    places[i] = PackPlace(t, threadIdx.x / 4 + i * 32);
    starts[i] = WindowStart(t, places[i]);
  }
  const int first = static_cast<int>(blockIdx.x) / t.filter_groups * t.tiles_per_block;
  const int last = first + min(t.tiles_per_block, t.tiles - first);
  for (int index = first; index < last; ++index) {
    const Tile tile = TileAt(t, index);
    StagePatch(t, tile, x, patch);
    __syncthreads();
    float sum[4][2][4] = {};
    const float* weight = weights + quad;
    for (int r = 0; r < t.kernel_h; ++r) {
      const float* row = patch + r * t.patch_row;
#pragma unroll 2
      for (int s = 0; s < t.kernel_row; ++s, weight += kFp32Filters) {
        const Vector<float> of_half[2] = {Load<4>(weight), Load<4>(weight + 16)};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float value = row[starts[i] + s];
#pragma unroll
          for (int f = 0; f < 8; ++f) sum[i][f / 4][f % 4] += value * of_half[f / 4].at[f % 4];
        }
      }
    }
    __syncthreads();  // all have read the patch: the next may come
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int pixel = OutputPixel(t, tile, places[i]);
      if (pixel < 0) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int filter = quad + half * 16;
#pragma unroll
        for (int f = 0; f < 4; ++f) {
          sum[i][half][f] = Activate(activation, sum[i][half][f] + of_filter[filter + f]);
        }
        StoreFilters(t, sum[i][half], pixel, first_filter + filter, y);
      }
    }
  }
}

// ---- Backward filter. A block owns 128 bytes of filters and a piece of the tiles. Its warps deal
// the depth among them in chunks of 32, and what warps are left the pixels, in steps of 16.

constexpr int kStepPixels = 16;
constexpr int kChunk = 32;
constexpr int kFilterThreadsMax = 256;
template <typename T>
constexpr int kBlockFilters = 128 / sizeof(T);
// Elements of a staged row of dy: sixteen bytes too many, against bank conflicts.
template <typename T>
constexpr int kGradientRow = kBlockFilters<T> + Vector<T>::kSize;

// One warp's part of the product, kBlockFilters<T> x 32, summed over pixels.
template <typename T>
struct FilterProduct;

template <>
struct FilterProduct<bf16> {
  static constexpr int kOffsets = 4, kQuads = 16;  // 4 x 4 products of 16 filters x 8 of the depth

  // One step. offsets: of this lane's columns, lane / 4 of each product.
  __device__ __forceinline__ static void Add(const bf16* dy, const bf16* patch, const int* starts,
                                             const int (&offsets)[kOffsets],
                                             float (&sum)[kQuads][4]) {
    const int lane = threadIdx.x % 32, t = lane % 4;
    const int at[4] = {starts[2 * t], starts[2 * t + 1], starts[2 * t + 8], starts[2 * t + 9]};
    uint32_t b[4][2];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const bf16* column = patch + offsets[n];
      b[n][0] = Pair(column[at[0]], column[at[1]]);
      b[n][1] = Pair(column[at[2]], column[at[3]]);
    }
    const bf16* matrix = dy + (lane / 16 * 8 + lane % 8) * kGradientRow<bf16> + lane / 8 % 2 * 8;
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      uint32_t a[4];
      LoadMatricesTransposed(a, matrix + m * 16);
#pragma unroll
      for (int n = 0; n < 4; ++n) MmaBf16(sum[m * 4 + n], a, b[n]);
    }
  }
  __device__ __forceinline__ static int Offset(int lane, int i) { return i * 8 + lane / 4; }
  __device__ __forceinline__ static int Filter(int lane, int quad, int i) {
    return quad / 4 * 16 + i / 2 * 8 + lane / 4;
  }
  __device__ __forceinline__ static int Depth(int lane, int quad, int i) {
    return quad % 4 * 8 + lane % 4 * 2 + i % 2;
  }
};

template <>
struct FilterProduct<float> {
  static constexpr int kOffsets = 8, kQuads = 8;  // a lane: 4 filters, each with 2 x 4 of the depth

  __device__ __forceinline__ static void Add(const float* dy, const float* patch, const int* starts,
                                             const int (&offsets)[kOffsets],
                                             float (&sum)[kQuads][4]) {
    const int lane = threadIdx.x % 32;
#pragma unroll 2
    for (int pixel = 0; pixel < kStepPixels; ++pixel) {
      const auto gradient = Load<4>(dy + pixel * kGradientRow<float> + lane / 4 * 4);
      const float* window = patch + starts[pixel];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float value = window[offsets[i]];
#pragma unroll
        for (int f = 0; f < 4; ++f) sum[f * 2 + i / 4][i % 4] += gradient.at[f] * value;
      }
    }
  }
  __device__ __forceinline__ static int Offset(int lane, int i) { return i * 4 + lane % 4; }
  __device__ __forceinline__ static int Filter(int lane, int quad, int) {
    return lane / 4 * 4 + quad / 2;
  }
  __device__ __forceinline__ static int Depth(int lane, int quad, int i) {
    return (quad % 2 * 4 + i) * 4 + lane % 4;
  }
};

// Starts staging a tile's dy, [pixel][filter], zeros outside of the image and from out_c on.
template <typename T>
__device__ __forceinline__ void StageGradient(const Tiling& t, const Tile& tile, int first_filter,
                                              const int* places, const T* __restrict__ dy,
                                              T* staged) {
  constexpr int kSize = Vector<T>::kSize, kVectors = kBlockFilters<T> / kSize;
  for (int i = threadIdx.x; i < kTilePixels * kVectors; i += static_cast<int>(blockDim.x)) {
    const int index = i / kVectors, filter = first_filter + i % kVectors * kSize;
    const int pixel = OutputPixel(t, tile, places[index]);
    const bool inside = pixel >= 0 && filter < t.out_c;
    const T* from = inside ? dy + pixel * t.out_c + filter : dy;
    T* to = staged + index * kGradientRow<T> + i % kVectors * kSize;
    if (t.out_c % kSize == 0) {
      AsyncCopy<16>(to, from, inside);
      continue;
    }
    Vector<T> all;
#pragma unroll
    for (int f = 0; f < kSize; ++f) {
      all.at[f] = inside && filter + f < t.out_c ? from[f] : FromFloat<T>(0);
    }
    Store(to, all);
  }
}

// The sums of the warps that share a chunk, added in order to those of the first, by way of
// `shared`: a warp's results for each chunk.
template <int kQuads>
__device__ __forceinline__ void AddWays(int way, int ways, float* shared, float (&sum)[kQuads][4]) {
  for (int from = 1; from < ways; ++from) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kQuads * 4; ++i) {
      if (way == from) shared[i * 32] = sum[i / 4][i % 4];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kQuads * 4; ++i) {
      if (way == 0) sum[i / 4][i % 4] += shared[i * 32];
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kFilterThreadsMax, 2)
    FirstConvFilterKernel(Tiling t, const T* __restrict__ x, const T* __restrict__ dy,
                          float* __restrict__ partial) {
  using Product = FilterProduct<T>;
  constexpr int kGradientSize = kTilePixels * kGradientRow<T>;
  KERNEL_DYNAMIC_SHARED(T, gradients);  // two tiles': one is staged while the other is used
  T* patches = gradients + 2 * kGradientSize;
  KERNEL_SHARED(int, places, [kTilePixels]);
  KERNEL_SHARED(int, starts, [kTilePixels]);
  for (int i = threadIdx.x; i < kTilePixels; i += static_cast<int>(blockDim.x)) {
    places[i] = PackPlace(t, i);
    starts[i] = WindowStart(t, places[i]);
  }
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int chunks = CeilDivide(t.depth, kChunk);
  const int chunk = warp % chunks, way = warp / chunks;
  const int ways = static_cast<int>(blockDim.x) / 32 / chunks;
  int offsets[Product::kOffsets];
#pragma unroll
  for (int i = 0; i < Product::kOffsets; ++i) {
    const int k = chunk * kChunk + Product::Offset(lane, i);
    offsets[i] = k < t.depth ? k / t.kernel_row * t.patch_row + k % t.kernel_row : 0;
  }
  __syncthreads();

  const int first_filter = static_cast<int>(blockIdx.x) % t.filter_groups * kBlockFilters<T>;
  const int piece = static_cast<int>(blockIdx.x) / t.filter_groups;
  const int first = piece * t.tiles_per_block;
  const int last = first + min(t.tiles_per_block, t.tiles - first);
  const int steps = CeilDivide(t.tile_h * t.tile_w, kStepPixels);
  const auto stage = [&](int index) {
    const Tile tile = TileAt(t, index);
    const int buffer = (index - first) % 2;
    StageGradient(t, tile, first_filter, places, dy, gradients + buffer * kGradientSize);
    StagePatch(t, tile, x, patches + buffer * t.patch_size);
  };
  float sum[Product::kQuads][4] = {};
  stage(first);
  AsyncCommit();
  for (int index = first; index < last; ++index) {
    if (index + 1 < last) stage(index + 1);
    AsyncCommit();
    AsyncWait<1>();
    __syncthreads();
    const T* gradient = gradients + (index - first) % 2 * kGradientSize;
    const T* patch = patches + (index - first) % 2 * t.patch_size;
    for (int step = way; step < steps; step += ways) {
      Product::Add(gradient + step * kStepPixels * kGradientRow<T>, patch,
                   starts + step * kStepPixels, offsets, sum);
    }
    __syncthreads();  // all have read this tile: the one after the next may come
  }
  AddWays(way, ways, reinterpret_cast<float*>(gradients) + chunk * Product::kQuads * 4 * 32 + lane,
          sum);
  if (way != 0) return;
  partial += int64_t{piece} * t.out_c * t.depth;
#pragma unroll
  for (int i = 0; i < Product::kQuads * 4; ++i) {
    const int filter = first_filter + Product::Filter(lane, i / 4, i % 4);
    const int k = chunk * kChunk + Product::Depth(lane, i / 4, i % 4);
    if (filter < t.out_c && k < t.depth) partial[filter * t.depth + k] = sum[i / 4][i % 4];
  }
}

// ---- Launching.

template <typename T>
Tiling PlanFilter(const ConvShape& shape) {
  return PlanTiling(shape, sizeof(T), {kBlockFilters<T>, kFilterBlocks, kFilterTiles});
}

template <int kGroups>
void LaunchForward(const ConvShape& shape, const bf16* x, const bf16* w, const float* bias,
                   Activation activation, bf16* y, cudaStream_t stream) {
  constexpr int kFilters = 32 * kGroups;
  const Tiling t = PlanTiling(shape, sizeof(bf16), {kFilters, kForwardBlocks, kForwardTiles});
  const int row = WeightRow(t.depth);
  const size_t shared_bytes = sizeof(bf16) * (kFilters * row + t.patch_size) +
                              sizeof(int) * (row - 8) + sizeof(float) * kFilters;
  Launch(FirstConvForwardTensorKernel<kGroups>, Blocks(t), kForwardThreads, shared_bytes, stream, t,
         x, w, bias, activation, y);
}

void Forward(const ConvShape& shape, const bf16* x, const bf16* w, const float* bias,
             Activation activation, bf16* y, cudaStream_t stream) {
  shape.out_c <= 32 ? LaunchForward<1>(shape, x, w, bias, activation, y, stream)
                    : LaunchForward<2>(shape, x, w, bias, activation, y, stream);
}

void Forward(const ConvShape& shape, const float* x, const float* w, const float* bias,
             Activation activation, float* y, cudaStream_t stream) {
  const Tiling t = PlanTiling(shape, sizeof(float), {kFp32Filters, kForwardBlocks, kForwardTiles});
  const size_t shared_bytes = sizeof(float) * ((t.depth + 1) * kFp32Filters + t.patch_size);
  Launch(FirstConvForwardKernel, Blocks(t), kForwardThreads, shared_bytes, stream, t, x, w, bias,
         activation, y);
}

void Check(const char* kernel, const ConvShape& shape) {
  CheckConvShape(kernel, shape);
  if (FirstConvTakes(shape)) return;
  throw Error(std::string(kernel) + ": " + std::to_string(shape.in_c) + " channels in " +
              std::to_string(shape.groups) + " groups, " + std::to_string(shape.depth()) +
              " weights a filter, expected at most " + std::to_string(kChannelsMax) +
              " channels in 1 group, and at most " + std::to_string(kDepthMax) + " weights");
}

}  // namespace

bool FirstConvTakes(const ConvShape& shape) {
  return shape.in_c <= kChannelsMax && shape.groups == 1 && shape.depth() <= kDepthMax;
}

template <typename T>
void FirstConvForward(const ConvShape& shape, const T* x, const T* w, const float* bias,
                      Activation activation, T* y, cudaStream_t stream) {
  Check("FirstConvForward", shape);
  CheckAligned("FirstConvForward", "y", y);
  Forward(shape, x, w, bias, activation, y, stream);
}

template <typename T>
void FirstConvBackwardFilter(const ConvShape& shape, const T* x, const T* dy, float* workspace,
                             float* dw, cudaStream_t stream) {
  Check("FirstConvBackwardFilter", shape);
  CheckAligned("FirstConvBackwardFilter", "dy", dy);
  const Tiling t = PlanFilter<T>(shape);
  const int chunks = CeilDivide(t.depth, kChunk);
  const int warps = kFilterThreadsMax / 32 / chunks * chunks;
  const size_t shared_bytes =
      sizeof(T) * 2 * (size_t{kTilePixels} * kGradientRow<T> + t.patch_size);
  // The most that any shape takes: another thread's launch must not lower what this one needs.
  constexpr size_t kMost = sizeof(T) * 2 * kTilePixels * kGradientRow<T> + 2 * kPatchBytesMax;
  AllowShared(FirstConvFilterKernel<T>, kMost);
  Launch(FirstConvFilterKernel<T>, Blocks(t), 32 * warps, shared_bytes, stream, t, x, dy,
         workspace);
  AddPieces(workspace, CeilDivide(t.tiles, t.tiles_per_block), shape.weights(), dw, stream);
}

int64_t FirstConvBackwardFilterWorkspace(const ConvShape& shape) {
  Check("FirstConvBackwardFilterWorkspace", shape);
  // Whichever type of tensor comes.
  const Tiling fp32 = PlanFilter<float>(shape), half = PlanFilter<bf16>(shape);
  return shape.weights() * std::max(CeilDivide(fp32.tiles, fp32.tiles_per_block),
                                    CeilDivide(half.tiles, half.tiles_per_block));
}

#define INSTANTIATE(T)                                                                           \
  template void FirstConvForward(const ConvShape&, const T*, const T*, const float*, Activation, \
                                 T*, cudaStream_t);                                              \
  template void FirstConvBackwardFilter(const ConvShape&, const T*, const T*, float*, float*,    \
                                        cudaStream_t)
INSTANTIATE(float);
INSTANTIATE(bf16);
#undef INSTANTIATE

}  // namespace trainyard::kernels::cuda
