#include <algorithm>

#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_loads.h"
#include "kernels/cuda/conv_plan.h"
#include "kernels/cuda/vectors.h"

namespace trainyard::kernels::cuda {
namespace {

// One axis of one phase. Input positions h = i stride + phase all see the same taps r = first + a
// stride: those with h + pad - r divisible by the stride. Then dy's position is i + (phase + pad) /
// stride - a; with the last tap first, it goes up with the tap, as in a forward pass of stride 1.
struct PhaseAxis {
  unsigned positions, taps, last_tap, origin;  // origin: dy's position at i = 0 and the last tap
};

__device__ __forceinline__ PhaseAxis OnAxis(unsigned phase, unsigned in, unsigned kernel,
                                            unsigned stride, unsigned pad) {
  PhaseAxis axis;
  axis.positions = (in - phase - 1) / stride + 1;
  const unsigned first = (phase + pad) % stride;
  axis.taps = first < kernel ? (kernel - first - 1) / stride + 1 : 0;
  axis.last_tap = first + (axis.taps - 1) * stride;
  axis.origin = (phase + pad) / stride - (axis.taps - 1);
  return axis;
}

// Rows: input pixels of one phase; columns: channels; depth: its taps, and filters. A block is one
// tile (x) of one phase (y) of one group (z).
template <typename Tile, typename T = typename Tile::T>
__global__ void __launch_bounds__(kConvThreads, Tile::kBlocks)
    ConvBackwardDataKernel(ConvShape shape, unsigned phases_w, const T* __restrict__ dy,
                           const T* __restrict__ w, bool accumulate, T* __restrict__ dx) {
  KERNEL_SHARED(Vector<T>, shared, [Tile::kSharedVectors]);
  const unsigned channels = shape.in_c / shape.groups, filters = shape.out_c / shape.groups;
  const unsigned phase_h = blockIdx.y / phases_w, phase_w = blockIdx.y % phases_w;
  const PhaseAxis h = OnAxis(phase_h, shape.in_h, shape.kernel_h, shape.stride_h, shape.pad_top);
  const PhaseAxis v = OnAxis(phase_w, shape.in_w, shape.kernel_w, shape.stride_w, shape.pad_left);
  const unsigned pixels = shape.batch * h.positions * v.positions;
  const unsigned column_tiles = (channels - 1) / Tile::kColumns + 1;
  const unsigned first_pixel = blockIdx.x / column_tiles * Tile::kRows;
  const unsigned first_channel = blockIdx.x % column_tiles * Tile::kColumns;
  const unsigned group = blockIdx.z;
  if (first_pixel >= pixels) return;  // phases differ in size

  ConvSums<Tile> sums = {};
  const unsigned depth = h.taps * v.taps * filters;
  if (depth > 0) {
    Windows windows;
    windows.image_h = shape.out_h, windows.image_w = shape.out_w, windows.pitch = shape.out_c;
    windows.grid_h = h.positions, windows.grid_w = v.positions;
    windows.stride_h = windows.stride_w = 1;
    windows.origin_h = h.origin, windows.origin_w = v.origin;
    windows.taps_h = h.taps, windows.taps_w = v.taps, windows.channels = filters;
    windows.first_channel = group * filters;
    PhaseTaps taps;
    taps.filters = filters, taps.channels = channels;
    taps.kernel_h = shape.kernel_h, taps.kernel_w = shape.kernel_w;
    taps.taps_h = h.taps, taps.taps_w = v.taps;
    taps.last_h = h.last_tap, taps.last_w = v.last_tap;
    taps.stride_h = shape.stride_h, taps.stride_w = shape.stride_w;
    taps.start = group * filters * (shape.kernel_h * shape.kernel_w * channels);
    WindowRowsLoad<Tile> a(dy, windows, first_pixel, pixels);
    WeightColumnsLoad<Tile> b(w, taps, first_channel);
    MultiplyConvTile(a, b, (depth - 1) / Tile::kDepth + 1, reinterpret_cast<T*>(shared), sums);
  }

  constexpr int kStride = kConvRowsPerPass<Tile, T>;
  const Loops grid{h.positions, v.positions};
  Walk at = grid.At(first_pixel + threadIdx.x / (kConvThreads / kStride));
  const Walk next = grid.At(kStride);
  const bool vectors = channels % Vector<T>::kSize == 0;
  ForEachConvVector<Tile, T>(
      sums, reinterpret_cast<float*>(shared), [&](int row, int column, const float* values) {
        const unsigned y = at.middle * shape.stride_h + phase_h;
        const unsigned x = at.inner * shape.stride_w + phase_w;
        const unsigned pixel = (at.outer * shape.in_h + y) * shape.in_w + x;
        grid.Advance(at, next);
        const int count = static_cast<int>(channels - first_channel) - column;
        if (first_pixel + row >= pixels || count <= 0) return;
        T* to = dx + (pixel * shape.in_c + group * channels + first_channel + column);
        if (!accumulate) {
          StoreConvVector(to, vectors, count, [&](int i) { return values[i]; });
        } else if (vectors) {
          const Vector<T> before = Load<Vector<T>::kSize>(to);
          StoreConvVector(to, true, count,
                          [&](int i) { return ToFloat(before.at[i]) + values[i]; });
        } else {
          StoreConvVector(to, false, count, [&](int i) { return ToFloat(to[i]) + values[i]; });
        }
      });
}

}  // namespace

template <typename T>
void ConvBackwardData(const ConvShape& given, Precision precision, const T* dy, const T* w,
                      bool accumulate, T* dx, cudaStream_t stream) {
  constexpr const char* kName = "ConvBackwardData";
  CheckConvShape(kName, given);
  CheckPrecision<T>(kName, precision);
  CheckAligned(kName, "dy", dy);
  CheckAligned(kName, "w", w);
  CheckAligned(kName, "dx", dx);
  const ConvShape shape = FewestTaps(given);
  const int64_t phases_h = std::min(shape.stride_h, shape.in_h);
  const int64_t phases_w = std::min(shape.stride_w, shape.in_w);
  CheckGridSize(kName, "groups", shape.groups);
  CheckGridSize(kName, "phases of the stride", phases_h * phases_w);
  const int64_t channels = shape.in_c / shape.groups, filters = shape.out_c / shape.groups;
  const int64_t pixels = int64_t{shape.batch} * CeilDivide(shape.in_h, shape.stride_h) *
                         CeilDivide(shape.in_w, shape.stride_w);  // of the largest phase
  const bool large = UsesLargeTile(pixels, channels, shape.groups * phases_h * phases_w);
  const bool vectors = channels % Vector<T>::kSize == 0 && filters % Vector<T>::kSize == 0;
  WithConvTile<T, kLargeTile, kSmallTile>(precision, large, vectors, [&](auto tile) {
    using Tile = decltype(tile);
    const int64_t tiles = TileCount({Tile::kRows, Tile::kColumns}, pixels, channels);
    const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(phases_h * phases_w),
                    shape.groups);
    Launch(ConvBackwardDataKernel<Tile>, grid, kConvThreads, 0, stream, shape, phases_w, dy, w,
           accumulate, dx);
  });
}

template void ConvBackwardData(const ConvShape&, Precision, const float*, const float*, bool,
                               float*, cudaStream_t);
template void ConvBackwardData(const ConvShape&, Precision, const bf16*, const bf16*, bool, bf16*,
                               cudaStream_t);

}  // namespace trainyard::kernels::cuda
