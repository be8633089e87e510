#include <algorithm>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/add_pieces.h"
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/depthwise_conv.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vectors.h"

namespace trainyard::kernels::cuda {
namespace {

constexpr int kWeightsMax = 1024;  // of one input channel

// Output pixels of one row that a thread computes together: fewer where they share less input.
constexpr int StripOf(int up) { return up == 2 ? 2 : 4; }

constexpr int kFilterStrip = 4;

constexpr int kThreads = 256, kFilterThreads = 128;
// Enough blocks to fill a large GPU several times, and once.
constexpr int kBlocks = 2048, kFilterBlocks = 528;

// A block's packs of channels: about equally many for each block, at most `most`.
int PacksPerBlock(int packs, int most) { return CeilDivide(packs, CeilDivide(packs, most)); }

// Forward and backward-data are one gather: an output pixel i sees the input pixel
// (i up - pad + tap) / down where that division is exact. Forward, up is the stride and down is 1;
// backward, the other way round, with the taps in reverse.
struct Gather {
  int in_h, in_w, in_c, out_h, out_w, out_c;
  int kernel_h, kernel_w, up_h, up_w, down_h, down_w, pad_top, pad_left;
  // Output channel k sees the input channels k / divide * sources and the next, `sources` in all.
  int divide, sources;
  bool reverse, accumulate;
  Activation activation;
  int packs, groups;  // of channels: in a block, and how many blocks cover all
  int strips_per_row, strips, strips_per_block;
};

struct StripPlace {
  int image, row, column;
};

__device__ __forceinline__ StripPlace PlaceOf(int strip, int strips_per_row, int rows, int width) {
  const int row = strip / strips_per_row;
  return {row / rows, row % rows, strip % strips_per_row * width};
}

// The input position for `position` = i up - pad + tap, or -1. kDown 0: known at run time only.
template <int kDown>
__device__ __forceinline__ int Source(int position, int down, int size) {
  if (kDown > 0) down = kDown;
  if (position < 0) return -1;
  const unsigned source = static_cast<unsigned>(position) / static_cast<unsigned>(down);
  if (source * static_cast<unsigned>(down) != static_cast<unsigned>(position)) return -1;
  return source < static_cast<unsigned>(size) ? static_cast<int>(source) : -1;
}

// Weights lie in shared memory as [tap][source][part][pack][element], parts of at most four floats:
// so neighbouring threads read neighbouring sixteen bytes.
template <int kVector>
constexpr int kPart = kVector < 4 ? kVector : 4;

template <typename T, int kVector>
__device__ __forceinline__ void StageWeights(const Gather& g, int first_channel,
                                             const T* __restrict__ w, float* staged) {
  constexpr int kWidth = kPart<kVector>, kParts = kVector / kWidth;
  const int taps = g.kernel_h * g.kernel_w;
  const int channels = min(g.packs * kVector, g.out_c - first_channel);
  const T* from = w + first_channel * g.sources * taps;
  for (int i = threadIdx.x; i < channels * g.sources * taps; i += kThreads) {
    int tap = i % taps;
    const int source = i / taps % g.sources, channel = i / taps / g.sources;
    if (g.reverse) tap = taps - 1 - tap;
    const int part = channel % kVector / kWidth, pack = channel / kVector;
    staged[(((tap * g.sources + source) * kParts + part) * g.packs + pack) * kWidth +
           channel % kWidth] = ToFloat(from[i]);
  }
}

// sum += x weights, for one tap and source of one thread's channels.
template <typename T, int kVector>
__device__ __forceinline__ void ReadWeights(const float* staged, int packs,
                                            float (&weight)[kVector]) {
  constexpr int kWidth = kPart<kVector>;
#pragma unroll
  for (int part = 0; part < kVector / kWidth; ++part) {
    const auto four = Load<kWidth>(staged + part * packs * kWidth);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) weight[part * kWidth + i] = four.at[i];
  }
}

// One row of the window of a known size: the columns that the strip sees are loaded once.
template <typename T, int kVector, int kWindow, int kUp, int kDown, int kStrip>
__device__ __forceinline__ void AddRow(const Gather& g, const T* row, int first_column,
                                       const float* staged, float (&sum)[kStrip][kVector]) {
  constexpr int kColumns = (kStrip - 1) * kUp + kWindow;
  Vector<T, kVector> x[kColumns];
#pragma unroll
  for (int i = 0; i < kColumns; ++i) {
    const int column = Source<kDown>(first_column + i, kDown, g.in_w);
    x[i] = column >= 0 ? Load<kVector>(row + column * g.in_c) : Vector<T, kVector>{};
  }
#pragma unroll
  for (int s = 0; s < kWindow; ++s) {
    float weight[kVector];
    ReadWeights<T>(staged + s * g.packs * kVector, g.packs, weight);
#pragma unroll
    for (int i = 0; i < kStrip; ++i) {
#pragma unroll
      for (int c = 0; c < kVector; ++c) sum[i][c] += ToFloat(x[i * kUp + s].at[c]) * weight[c];
    }
  }
}

// One row of a window of any size, tap by tap. `pixels`: how many of the strip there are.
template <typename T, int kVector, int kDown, int kStrip>
__device__ __forceinline__ void AddAnyRow(const Gather& g, const T* row, int output_column,
                                          int pixels, const float* staged,
                                          float (&sum)[kStrip][kVector]) {
  const int sources = kVector > 1 ? 1 : g.sources;
  for (int s = 0; s < g.kernel_w; ++s) {
    int column[kStrip];
#pragma unroll
    for (int i = 0; i < kStrip; ++i) {
      column[i] = i < pixels ? Source<kDown>((output_column + i) * g.up_w - g.pad_left + s,
                                             g.down_w, g.in_w)
                             : -1;
    }
    for (int source = 0; source < sources; ++source) {
      float weight[kVector];
      ReadWeights<T>(staged + (s * sources + source) * g.packs * kVector, g.packs, weight);
#pragma unroll
      for (int i = 0; i < kStrip; ++i) {
        if (column[i] < 0) continue;
        const auto x = Load<kVector>(row + column[i] * g.in_c + source);
#pragma unroll
        for (int c = 0; c < kVector; ++c) sum[i][c] += ToFloat(x.at[c]) * weight[c];
      }
    }
  }
}

template <typename T, int kVector, int kStrip>
__device__ __forceinline__ void StoreStrip(const Gather& g, int pixels,
                                           const float (&sum)[kStrip][kVector], T* out) {
#pragma unroll
  for (int i = 0; i < kStrip; ++i) {
    if (i >= pixels) return;
    float total[kVector];
    Begin(g.accumulate, out + i * g.out_c, total);
#pragma unroll
    for (int c = 0; c < kVector; ++c) total[c] += Activate(g.activation, sum[i][c]);
    Store(out + i * g.out_c, FromFloats<T>(total));
  }
}

// Threads of a block: g.packs packs of channels (fastest) by strips. kWindow 0: any window.
template <typename T, int kVector, int kWindow, int kUp, int kDown>
__global__ void __launch_bounds__(kThreads, 2)
    DepthwiseGatherKernel(Gather g, const T* __restrict__ in, const T* __restrict__ w,
                          const float* __restrict__ bias, T* __restrict__ out) {
  constexpr int kStrip = StripOf(kUp);
  KERNEL_DYNAMIC_SHARED(float, staged);
  const int first_channel = static_cast<int>(blockIdx.x) % g.groups * g.packs * kVector;
  StageWeights<T, kVector>(g, first_channel, w, staged);
  __syncthreads();
  const int pack = static_cast<int>(threadIdx.x) % g.packs;
  const int lane = static_cast<int>(threadIdx.x) / g.packs, lanes = kThreads / g.packs;
  const int channel = first_channel + pack * kVector;
  if (channel >= g.out_c || lane >= lanes) return;
  in += channel / g.divide * g.sources;
  const float* weights = staged + pack * kPart<kVector>;
  const int first = static_cast<int>(blockIdx.x) / g.groups * g.strips_per_block;
  const int last = min(first + g.strips_per_block, g.strips);
  for (int strip = first + lane; strip < last; strip += lanes) {
    const auto [image, row, column] = PlaceOf(strip, g.strips_per_row, g.out_h, kStrip);
    const int pixels = min(kStrip, g.out_w - column);
    float sum[kStrip][kVector];
#pragma unroll
    for (int i = 0; i < kStrip; ++i) {
#pragma unroll
      for (int c = 0; c < kVector; ++c) sum[i][c] = bias != nullptr ? bias[channel + c] : 0;
    }
    const int kernel_h = kWindow > 0 ? kWindow : g.kernel_h;
#pragma unroll(kWindow > 0 ? kWindow : 1)
    for (int r = 0; r < kernel_h; ++r) {
      const int in_row =
          Source<kDown>(row * (kUp > 0 ? kUp : g.up_h) - g.pad_top + r, g.down_h, g.in_h);
      if (in_row < 0) continue;
      const T* from = in + (image * g.in_h + in_row) * g.in_w * g.in_c;
      const float* of_row = weights + r * g.kernel_w * g.sources * g.packs * kVector;
      if constexpr (kWindow > 0) {
        AddRow<T, kVector, kWindow, kUp, kDown>(g, from, column * kUp - g.pad_left, of_row, sum);
      } else {
        AddAnyRow<T, kVector, kDown>(g, from, column, pixels, of_row, sum);
      }
    }
    StoreStrip<T, kVector>(g, pixels, sum,
                           out + ((image * g.out_h + row) * g.out_w + column) * g.out_c + channel);
  }
}

template <typename T, int kVector, int kWindow, int kUp, int kDown>
void LaunchGather(Gather g, int batch, const T* in, const T* w, const float* bias, T* out,
                  cudaStream_t stream) {
  const int taps = g.kernel_h * g.kernel_w, packs = g.out_c / kVector;
  const int pack_bytes = taps * g.sources * kVector * static_cast<int>(sizeof(float));
  g.packs = PacksPerBlock(packs, std::min(kVector > 1 ? 16 : 64, kSharedBytesMax / pack_bytes));
  g.groups = CeilDivide(packs, g.packs);
  g.strips_per_row = CeilDivide(g.out_w, StripOf(kUp));
  g.strips = batch * g.out_h * g.strips_per_row;
  // Neighbouring strips stay in one block, which finds the rows they share in its cache. Two passes
  // at least, to be worth the staging of weights.
  const int lanes = kThreads / g.packs, blocks = std::max(1, kBlocks / g.groups);
  g.strips_per_block = std::clamp(g.strips / lanes / blocks, 2, 16) * lanes;
  Launch(DepthwiseGatherKernel<T, kVector, kWindow, kUp, kDown>,
         Blocks(g.strips, g.strips_per_block) * g.groups, kThreads,
         static_cast<size_t>(g.packs) * pack_bytes, stream, g, in, w, bias, out);
}

template <typename T>
void DispatchGather(const Gather& g, int batch, const T* in, const T* w, const float* bias, T* out,
                    cudaStream_t stream) {
  constexpr int kVector = Vector<T>::kSize;
  const bool down = g.down_h > 1 || g.down_w > 1;
  if (g.out_c != g.in_c || g.out_c % kVector != 0) {
    down ? LaunchGather<T, 1, 0, 0, 0>(g, batch, in, w, bias, out, stream)
         : LaunchGather<T, 1, 0, 0, 1>(g, batch, in, w, bias, out, stream);
    return;
  }
  const auto all = [&](int up_size, int down_size) {
    return g.kernel_h == 3 && g.kernel_w == 3 && g.up_h == up_size && g.up_w == up_size &&
           g.down_h == down_size && g.down_w == down_size;
  };
  if (all(1, 1)) {
    LaunchGather<T, kVector, 3, 1, 1>(g, batch, in, w, bias, out, stream);
  } else if (all(2, 1)) {
    LaunchGather<T, kVector, 3, 2, 1>(g, batch, in, w, bias, out, stream);
  } else if (all(1, 2)) {
    LaunchGather<T, kVector, 3, 1, 2>(g, batch, in, w, bias, out, stream);
  } else if (down) {
    LaunchGather<T, kVector, 0, 0, 0>(g, batch, in, w, bias, out, stream);
  } else {
    LaunchGather<T, kVector, 0, 0, 1>(g, batch, in, w, bias, out, stream);
  }
}

// What a thread of the filter's gradient works on: kRows x kColumns taps at (r, s), in registers.
struct FilterPlan {
  int in_h, in_w, in_c, out_h, out_w, out_c;
  int used_w, used_h;  // the part of x that windows cover
  int kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, multiplier;
  int vector, rows, columns, strip;  // the kernel's template parameters
  int packs, groups, tap_columns, tap_groups;
  int strips_per_row, strips, strips_per_piece, pieces;
};

// sum += dy x, over the pixels of one strip.
template <typename T, int kVector, int kRows, int kColumns, int kStride, int kPixels>
__device__ __forceinline__ void AddStrip(const FilterPlan& f, const T* x, int first_row,
                                         int first_column, const Vector<T, kVector> (&dy)[kPixels],
                                         float (&sum)[kRows * kColumns][kVector]) {
  constexpr int kLoads = (kPixels - 1) * kStride + kColumns;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int row = first_row + r;
    if (row < 0 || row >= f.used_h) continue;
    Vector<T, kVector> loaded[kLoads];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int column = first_column + i;
      loaded[i] = column >= 0 && column < f.used_w
                      ? Load<kVector>(x + (row * f.in_w + column) * f.in_c)
                      : Vector<T, kVector>{};
    }
#pragma unroll
    for (int i = 0; i < kPixels; ++i) {
#pragma unroll
      for (int s = 0; s < kColumns; ++s) {
#pragma unroll
        for (int c = 0; c < kVector; ++c) {
          sum[r * kColumns + s][c] += ToFloat(dy[i].at[c]) * ToFloat(loaded[i * kStride + s].at[c]);
        }
      }
    }
  }
}

// A block owns f.packs packs of channels, one group of taps and one piece of the pixels.
template <typename T, int kVector, int kRows, int kColumns, int kStride, int kPixels>
__global__ void __launch_bounds__(kFilterThreads, 2)
    DepthwiseFilterKernel(FilterPlan f, const T* __restrict__ x, const T* __restrict__ dy,
                          float* __restrict__ partial) {
  KERNEL_SHARED(float, of_thread, [kFilterThreads * kVector]);
  const int group = static_cast<int>(blockIdx.x) % f.groups;
  const int taps = static_cast<int>(blockIdx.x) / f.groups % f.tap_groups;
  const int piece = static_cast<int>(blockIdx.x) / f.groups / f.tap_groups;
  const int r0 = taps / f.tap_columns * kRows, s0 = taps % f.tap_columns * kColumns;
  const int pack = static_cast<int>(threadIdx.x) % f.packs;
  const int lane = static_cast<int>(threadIdx.x) / f.packs, lanes = kFilterThreads / f.packs;
  const int first_channel = group * f.packs * kVector, channel = first_channel + pack * kVector;
  float sum[kRows * kColumns][kVector] = {};
  if (channel < f.out_c && lane < lanes) {
    const int last = min((piece + 1) * f.strips_per_piece, f.strips);
    for (int strip = piece * f.strips_per_piece + lane; strip < last; strip += lanes) {
      const auto [image, row, column] = PlaceOf(strip, f.strips_per_row, f.out_h, kPixels);
      const T* from = dy + ((image * f.out_h + row) * f.out_w + column) * f.out_c + channel;
      Vector<T, kVector> gradient[kPixels];
#pragma unroll
      for (int i = 0; i < kPixels; ++i) {
        gradient[i] =
            column + i < f.out_w ? Load<kVector>(from + i * f.out_c) : Vector<T, kVector>{};
      }
      AddStrip<T, kVector, kRows, kColumns, kStride, kPixels>(
          f, x + image * f.in_h * f.in_w * f.in_c + channel / f.multiplier,
          row * f.stride_h - f.pad_top + r0, column * f.stride_w - f.pad_left + s0, gradient, sum);
    }
  }
  const int64_t taps_of_channel = f.kernel_h * f.kernel_w;
  const int width = f.packs * kVector;
#pragma unroll
  for (int tap = 0; tap < kRows * kColumns; ++tap) {
    const int r = r0 + tap / kColumns, s = s0 + tap % kColumns;
    if (s >= f.kernel_w) continue;
    __syncthreads();
#pragma unroll
    for (int c = 0; c < kVector; ++c) of_thread[threadIdx.x * kVector + c] = sum[tap][c];
    __syncthreads();
    for (int c = threadIdx.x; c < width && first_channel + c < f.out_c; c += kFilterThreads) {
      float total = 0;
#pragma unroll 4
      for (int i = 0; i < lanes; ++i) total += of_thread[i * width + c];
      partial[(int64_t{piece} * f.out_c + first_channel + c) * taps_of_channel + r * f.kernel_w +
              s] = total;
    }
  }
}

FilterPlan PlanFilter(const ConvShape& shape, int vector_size) {
  FilterPlan f{};
  f.in_h = shape.in_h, f.in_w = shape.in_w, f.in_c = shape.in_c;
  f.out_h = shape.out_h, f.out_w = shape.out_w, f.out_c = shape.out_c;
  f.kernel_h = shape.kernel_h, f.kernel_w = shape.kernel_w;
  f.stride_h = shape.stride_h, f.stride_w = shape.stride_w;
  f.pad_top = shape.pad_top, f.pad_left = shape.pad_left;
  f.used_h = std::min(f.in_h, (f.out_h - 1) * f.stride_h - f.pad_top + f.kernel_h);
  f.used_w = std::min(f.in_w, (f.out_w - 1) * f.stride_w - f.pad_left + f.kernel_w);
  f.multiplier = f.out_c / f.in_c;
  f.vector = f.multiplier == 1 && f.out_c % vector_size == 0 ? vector_size : 1;
  const bool three = f.vector > 1 && f.kernel_h == 3 && f.kernel_w == 3 &&
                     f.stride_h == f.stride_w && f.stride_w <= 2;
  f.rows = three ? 3 : 1;
  f.columns = three ? 3 : 8;
  f.strip = three ? kFilterStrip : 1;
  const int packs = f.out_c / f.vector;
  f.packs = PacksPerBlock(packs, f.vector > 1 ? 16 : 64);
  f.groups = CeilDivide(packs, f.packs);
  f.tap_columns = CeilDivide(f.kernel_w, f.columns);
  f.tap_groups = CeilDivide(f.kernel_h, f.rows) * f.tap_columns;
  f.strips_per_row = CeilDivide(f.out_w, f.strip);
  f.strips = shape.batch * f.out_h * f.strips_per_row;
  const int lanes = kFilterThreads / f.packs;
  const int pieces =
      std::clamp(f.strips / (lanes * 4), 1,
                 std::max(1, kFilterBlocks / std::min(kFilterBlocks, f.groups) / f.tap_groups));
  f.strips_per_piece = CeilDivide(f.strips, pieces);
  f.pieces = CeilDivide(f.strips, f.strips_per_piece);
  return f;
}

void Check(const char* kernel, const ConvShape& shape) {
  CheckConvShape(kernel, shape);
  if (DepthwiseTakes(shape)) return;
  throw Error(
      std::string(kernel) + ": " + std::to_string(shape.groups) + " groups of " +
      std::to_string(shape.in_c) + " channels with " +
      std::to_string(shape.weights() / shape.in_c) +
      " weights for each, expected as many groups as channels, more than one, and at most " +
      std::to_string(kWeightsMax) + " weights");
}

}  // namespace

bool DepthwiseTakes(const ConvShape& shape) {
  return shape.in_c > 1 && shape.groups == shape.in_c && shape.out_c % shape.in_c == 0 &&
         shape.weights() / shape.in_c <= kWeightsMax;
}

template <typename T>
void DepthwiseForward(const ConvShape& shape, const T* x, const T* w, const float* bias,
                      Activation activation, T* y, cudaStream_t stream) {
  Check("DepthwiseForward", shape);
  CheckAligned("DepthwiseForward", "x", x);
  CheckAligned("DepthwiseForward", "y", y);
  Gather g{};
  g.in_h = shape.in_h, g.in_w = shape.in_w, g.in_c = shape.in_c;
  g.out_h = shape.out_h, g.out_w = shape.out_w, g.out_c = shape.out_c;
  g.kernel_h = shape.kernel_h, g.kernel_w = shape.kernel_w;
  g.up_h = shape.stride_h, g.up_w = shape.stride_w, g.down_h = g.down_w = 1;
  g.pad_top = shape.pad_top, g.pad_left = shape.pad_left;
  g.divide = shape.out_c / shape.in_c, g.sources = 1;
  g.activation = activation;
  DispatchGather(g, shape.batch, x, w, bias, y, stream);
}

template <typename T>
void DepthwiseBackwardData(const ConvShape& shape, const T* dy, const T* w, bool accumulate, T* dx,
                           cudaStream_t stream) {
  Check("DepthwiseBackwardData", shape);
  CheckAligned("DepthwiseBackwardData", "dy", dy);
  CheckAligned("DepthwiseBackwardData", "dx", dx);
  Gather g{};
  g.in_h = shape.out_h, g.in_w = shape.out_w, g.in_c = shape.out_c;
  g.out_h = shape.in_h, g.out_w = shape.in_w, g.out_c = shape.in_c;
  g.kernel_h = shape.kernel_h, g.kernel_w = shape.kernel_w;
  g.up_h = g.up_w = 1, g.down_h = shape.stride_h, g.down_w = shape.stride_w;
  g.pad_top = shape.kernel_h - 1 - shape.pad_top, g.pad_left = shape.kernel_w - 1 - shape.pad_left;
  g.divide = 1, g.sources = shape.out_c / shape.in_c;
  g.reverse = true, g.accumulate = accumulate;
  DispatchGather(g, shape.batch, dy, w, nullptr, dx, stream);
}

template <typename T>
void DepthwiseBackwardFilter(const ConvShape& shape, const T* x, const T* dy, float* workspace,
                             float* dw, cudaStream_t stream) {
  Check("DepthwiseBackwardFilter", shape);
  CheckAligned("DepthwiseBackwardFilter", "x", x);
  CheckAligned("DepthwiseBackwardFilter", "dy", dy);
  constexpr int kVector = Vector<T>::kSize;
  const FilterPlan f = PlanFilter(shape, kVector);
  const auto kernel = f.vector == 1     ? DepthwiseFilterKernel<T, 1, 1, 8, 1, 1>
                      : f.rows == 1     ? DepthwiseFilterKernel<T, kVector, 1, 8, 1, 1>
                      : f.stride_w == 1 ? DepthwiseFilterKernel<T, kVector, 3, 3, 1, kFilterStrip>
                                        : DepthwiseFilterKernel<T, kVector, 3, 3, 2, kFilterStrip>;
  Launch(kernel, static_cast<unsigned>(f.groups) * f.tap_groups * f.pieces, kFilterThreads, 0,
         stream, f, x, dy, workspace);
  AddPieces(workspace, f.pieces, shape.weights(), dw, stream);
}

int64_t DepthwiseBackwardFilterWorkspace(const ConvShape& shape) {
  Check("DepthwiseBackwardFilterWorkspace", shape);
  // Whichever type of tensor comes.
  const int pieces = std::max(PlanFilter(shape, Vector<float>::kSize).pieces,
                              PlanFilter(shape, Vector<bf16>::kSize).pieces);
  return pieces * shape.weights();
}

#define INSTANTIATE(T)                                                                           \
  template void DepthwiseForward(const ConvShape&, const T*, const T*, const float*, Activation, \
                                 T*, cudaStream_t);                                              \
  template void DepthwiseBackwardData(const ConvShape&, const T*, const T*, bool, T*,            \
                                      cudaStream_t);                                             \
  template void DepthwiseBackwardFilter(const ConvShape&, const T*, const T*, float*, float*,    \
                                        cudaStream_t)
INSTANTIATE(float);
INSTANTIATE(bf16);
#undef INSTANTIATE

}  // namespace trainyard::kernels::cuda
