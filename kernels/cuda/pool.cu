// A thread makes sixteen bytes of channels of one output pixel (forward) or input pixel (backward);
// neighbouring threads, neighbouring channels. Every kernel here is bound by memory, so what counts
// is that each byte is moved once, in whole sectors, and that little is computed to find it.
#include <cmath>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/divisor.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/pool.h"
#include "kernels/cuda/vectors.h"

namespace trainyard::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// The threads of a pool: one for each of `chunks` of channels, fastest, of each place of an image.
struct Places {
  Divisor chunks, width, height;
};

struct Place {
  int image, y, x, channel;
};

template <int kWidth>
__device__ __forceinline__ Place PlaceOfThread(const Places& places) {
  const uint32_t thread = blockIdx.x * kThreads + threadIdx.x;
  const uint32_t column = Quotient(thread, places.chunks);
  const uint32_t row = Quotient(column, places.width);
  const uint32_t image = Quotient(row, places.height);
  return {static_cast<int>(image), static_cast<int>(Remainder(row, image, places.height)),
          static_cast<int>(Remainder(column, row, places.width)),
          static_cast<int>(Remainder(thread, column, places.chunks)) * kWidth};
}

__device__ __forceinline__ int InOffset(const PoolShape& shape, const Place& at, int y, int x) {
  return ((at.image * shape.in_h + y) * shape.in_w + x) * shape.channels + at.channel;
}

__device__ __forceinline__ int OutOffset(const PoolShape& shape, const Place& at, int y, int x) {
  return ((at.image * shape.out_h + y) * shape.out_w + x) * shape.channels + at.channel;
}

// Windows of 2x2 pixels side by side in an image without padding: the common case.
bool IsTwoByTwo(const PoolShape& shape) {
  return shape.kernel_h == 2 && shape.kernel_w == 2 && shape.stride_h == 2 && shape.stride_w == 2 &&
         shape.pad_top == 0 && shape.pad_left == 0 && shape.out_h <= shape.in_h / 2 &&
         shape.out_w <= shape.in_w / 2;
}

// The rows or columns of a window that are in the image, and where it starts, maybe before it.
struct Span {
  int start, first, end;
};

__device__ __forceinline__ Span SpanOf(int out, int stride, int pad, int kernel, int in) {
  const int start = out * stride - pad;
  return {start, max(start, 0), min(start + kernel, in)};
}

// A window's pixels inside of the image.
template <bool kTwoByTwo>
struct Window {
  Span rows, columns;

  __device__ __forceinline__ Window(const PoolShape& shape, int y, int x)
      : rows(SpanOf(y, shape.stride_h, shape.pad_top, shape.kernel_h, shape.in_h)),
        columns(SpanOf(x, shape.stride_w, shape.pad_left, shape.kernel_w, shape.in_w)) {}

  __device__ __forceinline__ int FirstCell(const PoolShape& shape) const {
    return (rows.first - rows.start) * shape.kernel_w + columns.first - columns.start;
  }
  __device__ __forceinline__ int pixels() const {
    return (rows.end - rows.first) * (columns.end - columns.first);
  }
  // visit(cell, offset into x), in scan order.
  template <typename Visit>
  __device__ __forceinline__ void ForEachPixel(const PoolShape& shape, const Place& at,
                                               Visit visit) const {
    int first_cell = FirstCell(shape),
        first_offset = InOffset(shape, at, rows.first, columns.first);
#pragma unroll 1
    for (int y = rows.first; y < rows.end; ++y) {
      int cell = first_cell, offset = first_offset;
#pragma unroll 2
      for (int x = columns.first; x < columns.end; ++x) {
        visit(cell, offset);
        ++cell;
        offset += shape.channels;
      }
      first_cell += shape.kernel_w;
      first_offset += shape.in_w * shape.channels;
    }
  }
};

template <>
struct Window<true> {
  int y, x;

  __device__ __forceinline__ Window(const PoolShape&, int y, int x) : y(2 * y), x(2 * x) {}

  __device__ __forceinline__ int FirstCell(const PoolShape&) const { return 0; }
  __device__ __forceinline__ int pixels() const { return 4; }
  template <typename Visit>
  __device__ __forceinline__ void ForEachPixel(const PoolShape& shape, const Place& at,
                                               Visit visit) const {
#pragma unroll
    for (int cell = 0; cell < 4; ++cell) {
      visit(cell, InOffset(shape, at, y + cell / 2, x + cell % 2));
    }
  }
};

template <typename T, typename Index, int kWidth, bool kTwoByTwo>
__global__ void __launch_bounds__(kThreads)
    MaxPoolForwardKernel(PoolShape shape, Places places, const T* __restrict__ x, T* __restrict__ y,
                         Index* __restrict__ index) {
  const Place at = PlaceOfThread<kWidth>(places);
  if (at.image >= shape.batch) return;
  const Window<kTwoByTwo> window(shape, at.y, at.x);
  float best[kWidth];
  int best_cell[kWidth];
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    best[i] = -INFINITY;
    best_cell[i] = window.FirstCell(shape);
  }
  window.ForEachPixel(shape, at, [&](int cell, int offset) {
    const Vector<T, kWidth> values = Load<kWidth>(x + offset);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float value = ToFloat(values.at[i]);
      // Larger, or the first NaN.
      if (!(value <= best[i]) && best[i] == best[i]) {
        best[i] = value;
        best_cell[i] = cell;
      }
    }
  });
  const int to = OutOffset(shape, at, at.y, at.x);
  Store(y + to, FromFloats<T>(best));
  if (index == nullptr) return;
  Vector<Index, kWidth> cells;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) cells.at[i] = static_cast<Index>(best_cell[i]);
  Store(index + to, cells);
}

template <typename T, int kWidth, bool kTwoByTwo>
__global__ void __launch_bounds__(kThreads)
    AvgPoolForwardKernel(PoolShape shape, Places places, const T* __restrict__ x,
                         T* __restrict__ y) {
  const Place at = PlaceOfThread<kWidth>(places);
  if (at.image >= shape.batch) return;
  const Window<kTwoByTwo> window(shape, at.y, at.x);
  float mean[kWidth] = {};
  window.ForEachPixel(shape, at, [&](int, int offset) {
    const Vector<T, kWidth> values = Load<kWidth>(x + offset);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) mean[i] += ToFloat(values.at[i]);
  });
  const float share = 1.0f / static_cast<float>(window.pixels());
#pragma unroll
  for (int i = 0; i < kWidth; ++i) mean[i] *= share;
  Store(y + OutOffset(shape, at, at.y, at.x), FromFloats<T>(mean));
}

// What backward divides by to find the windows of a pixel.
struct Strides {
  Divisor h, w;
};

// visit(cell, pixels of the window, offset into dy) for the windows that hold pixel (y, x), in scan
// order.
template <typename Visit>
__device__ __forceinline__ void ForEachWindow(const PoolShape& shape, const Strides& strides,
                                              const Place& at, Visit visit) {
  const int below = at.y + shape.pad_top, right = at.x + shape.pad_left;
  const int first_y = Quotient(max(below - shape.kernel_h + shape.stride_h, 0), strides.h);
  const int first_x = Quotient(max(right - shape.kernel_w + shape.stride_w, 0), strides.w);
  const int last_y = min(static_cast<int>(Quotient(below, strides.h)), shape.out_h - 1);
  const int last_x = min(static_cast<int>(Quotient(right, strides.w)), shape.out_w - 1);
#pragma unroll 1
  for (int y = first_y; y <= last_y; ++y) {
#pragma unroll 1
    for (int x = first_x; x <= last_x; ++x) {
      const int cell = (below - y * shape.stride_h) * shape.kernel_w + right - x * shape.stride_w;
      visit(cell, Window<false>(shape, y, x).pixels(), OutOffset(shape, at, y, x));
    }
  }
}

// dx of one pixel or, where windows are 2x2, of the four pixels of a window, whose dy is then read
// once. add(cell, pixels, offset, sum) adds a window's part.
template <typename T, int kWidth, bool kTwoByTwo, typename Add>
__device__ __forceinline__ void PoolBackward(const PoolShape& shape, const Strides& strides,
                                             const Place& at, bool accumulate, T* dx, Add add) {
  if constexpr (!kTwoByTwo) {
    T* const to = dx + InOffset(shape, at, at.y, at.x);
    float sum[kWidth];
    Begin(accumulate, to, sum);
    ForEachWindow(shape, strides, at,
                  [&](int cell, int pixels, int offset) { add(cell, pixels, offset, sum); });
    Store(to, FromFloats<T>(sum));
  } else {
    T* const to = dx + InOffset(shape, at, 2 * at.y, 2 * at.x);
    const bool covered = at.y < shape.out_h && at.x < shape.out_w;
    const int offset = OutOffset(shape, at, at.y, at.x);
    const bool has_row = 2 * at.y + 1 < shape.in_h, has_column = 2 * at.x + 1 < shape.in_w;
    float sum[4][kWidth];
#pragma unroll
    for (int cell = 0; cell < 4; ++cell) {
      const bool inside = (cell / 2 == 0 || has_row) && (cell % 2 == 0 || has_column);
      Begin(accumulate && inside, to + (cell / 2 * shape.in_w + cell % 2) * shape.channels,
            sum[cell]);
    }
    if (covered) {
#pragma unroll
      for (int cell = 0; cell < 4; ++cell) add(cell, 4, offset, sum[cell]);
    }
#pragma unroll
    for (int cell = 0; cell < 4; ++cell) {
      const bool inside = (cell / 2 == 0 || has_row) && (cell % 2 == 0 || has_column);
      if (!inside) continue;
      Store(to + (cell / 2 * shape.in_w + cell % 2) * shape.channels, FromFloats<T>(sum[cell]));
    }
  }
}

template <typename T, typename Index, int kWidth, bool kTwoByTwo>
__global__ void __launch_bounds__(kThreads)
    MaxPoolBackwardKernel(PoolShape shape, Places places, Strides strides,
                          const Index* __restrict__ index, const T* __restrict__ dy,
                          bool accumulate, T* __restrict__ dx) {
  const Place at = PlaceOfThread<kWidth>(places);
  if (at.image >= shape.batch) return;
  PoolBackward<T, kWidth, kTwoByTwo>(
      shape, strides, at, accumulate, dx,
      [&](int cell, int /*pixels*/, int offset, float(&sum)[kWidth]) {
        const Vector<Index, kWidth> cells = Load<kWidth>(index + offset);
        const Vector<T, kWidth> gradient = Load<kWidth>(dy + offset);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          if (cells.at[i] == cell) sum[i] += ToFloat(gradient.at[i]);
        }
      });
}

template <typename T, int kWidth, bool kTwoByTwo>
__global__ void __launch_bounds__(kThreads)
    AvgPoolBackwardKernel(PoolShape shape, Places places, Strides strides, const T* __restrict__ dy,
                          bool accumulate, T* __restrict__ dx) {
  const Place at = PlaceOfThread<kWidth>(places);
  if (at.image >= shape.batch) return;
  PoolBackward<T, kWidth, kTwoByTwo>(
      shape, strides, at, accumulate, dx,
      [&](int /*cell*/, int pixels, int offset, float(&sum)[kWidth]) {
        const Vector<T, kWidth> gradient = Load<kWidth>(dy + offset);
        const float share = 1.0f / static_cast<float>(pixels);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) sum[i] += share * ToFloat(gradient.at[i]);
      });
}

// No coordinate may overflow.
void CheckReach(const char* kernel, const char* axis, int in, int window, int stride) {
  const int64_t reach = int64_t{in} + window + stride;
  if (reach <= INT32_MAX) return;
  throw Error(std::string(kernel) + ": input, window and stride along " + axis + " are " +
              std::to_string(reach) + ", expected below 2^31");
}

void CheckShape(const char* kernel, const PoolShape& shape) {
  CheckPositive(kernel, "batch", shape.batch);
  CheckPositive(kernel, "channels", shape.channels);
  CheckWindows(kernel, "height", shape.in_h, shape.out_h, shape.kernel_h, shape.stride_h,
               shape.pad_top);
  CheckWindows(kernel, "width", shape.in_w, shape.out_w, shape.kernel_w, shape.stride_w,
               shape.pad_left);
  CheckReach(kernel, "height", shape.in_h, shape.kernel_h, shape.stride_h);
  CheckReach(kernel, "width", shape.in_w, shape.kernel_w, shape.stride_w);
  CheckIndexable(kernel, "x", shape.in_size());
  CheckIndexable(kernel, "y", shape.out_size());
  CheckIndexable(kernel, "a window", int64_t{shape.kernel_h} * shape.kernel_w);
}

// Bytes that hold a position in a window.
int IndexWidth(const PoolShape& shape) {
  const int64_t cells = int64_t{shape.kernel_h} * shape.kernel_w;
  if (cells > 65536) {
    throw Error("MaxPool: a window has " + std::to_string(cells) +
                " cells, expected at most 65536");
  }
  return cells <= 256 ? 1 : 2;
}

// A launch over `height` x `width` places of each image.
struct PlacesLaunch {
  Places places;
  unsigned blocks;
  PlacesLaunch(int batch, int height, int width, int chunks)
      : places{Divisor(chunks), Divisor(width), Divisor(height)},
        blocks(Blocks(int64_t{batch} * height * width * chunks, kThreads)) {}
};

template <int kWidth>
PlacesLaunch OverOutputs(const PoolShape& shape) {
  return {shape.batch, shape.out_h, shape.out_w, shape.channels / kWidth};
}

template <int kWidth, bool kTwoByTwo>
PlacesLaunch OverInputs(const PoolShape& shape) {
  constexpr int kTile = kTwoByTwo ? 2 : 1;
  return {shape.batch, CeilDivide(shape.in_h, kTile), CeilDivide(shape.in_w, kTile),
          shape.channels / kWidth};
}

// Calls launch.operator()<kWidth, kTwoByTwo>() as fits the shape.
template <typename T, typename LaunchKernel>
void Dispatch(const PoolShape& shape, LaunchKernel launch) {
  constexpr int kSize = Vector<T>::kSize;
  const bool two_by_two = IsTwoByTwo(shape);
  if (shape.channels % kSize == 0) {
    two_by_two ? launch.template operator()<kSize, true>()
               : launch.template operator()<kSize, false>();
  } else {
    two_by_two ? launch.template operator()<1, true>() : launch.template operator()<1, false>();
  }
}

template <typename T, typename Index>
void LaunchMaxForward(const PoolShape& shape, const T* x, T* y, Index* index, cudaStream_t stream) {
  Dispatch<T>(shape, [&]<int kWidth, bool kTwoByTwo>() {
    // Four cells never need two bytes.
    constexpr bool kSpecial = kTwoByTwo && sizeof(Index) == 1;
    const PlacesLaunch over = OverOutputs<kWidth>(shape);
    Launch(MaxPoolForwardKernel<T, Index, kWidth, kSpecial>, over.blocks, kThreads, 0, stream,
           shape, over.places, x, y, index);
  });
}

template <typename T, typename Index>
void LaunchMaxBackward(const PoolShape& shape, const Index* index, const T* dy, bool accumulate,
                       T* dx, cudaStream_t stream) {
  Dispatch<T>(shape, [&]<int kWidth, bool kTwoByTwo>() {
    constexpr bool kSpecial = kTwoByTwo && sizeof(Index) == 1;
    const PlacesLaunch over = OverInputs<kWidth, kSpecial>(shape);
    const Strides strides{Divisor(shape.stride_h), Divisor(shape.stride_w)};
    Launch(MaxPoolBackwardKernel<T, Index, kWidth, kSpecial>, over.blocks, kThreads, 0, stream,
           shape, over.places, strides, index, dy, accumulate, dx);
  });
}

}  // namespace

int64_t MaxPoolIndexBytes(const PoolShape& shape) { return shape.out_size() * IndexWidth(shape); }

template <typename T>
void MaxPoolForward(const PoolShape& shape, const T* x, T* y, void* index, cudaStream_t stream) {
  constexpr char kName[] = "MaxPoolForward";
  CheckShape(kName, shape);
  CheckAligned(kName, "x", x);
  CheckAligned(kName, "y", y);
  CheckAligned(kName, "the index", index);
  if (IndexWidth(shape) == 1) {
    LaunchMaxForward(shape, x, y, static_cast<uint8_t*>(index), stream);
  } else {
    LaunchMaxForward(shape, x, y, static_cast<uint16_t*>(index), stream);
  }
}

template <typename T>
void MaxPoolBackward(const PoolShape& shape, const void* index, const T* dy, bool accumulate, T* dx,
                     cudaStream_t stream) {
  constexpr char kName[] = "MaxPoolBackward";
  CheckShape(kName, shape);
  CheckAligned(kName, "the index", index);
  CheckAligned(kName, "dy", dy);
  CheckAligned(kName, "dx", dx);
  if (IndexWidth(shape) == 1) {
    LaunchMaxBackward(shape, static_cast<const uint8_t*>(index), dy, accumulate, dx, stream);
  } else {
    LaunchMaxBackward(shape, static_cast<const uint16_t*>(index), dy, accumulate, dx, stream);
  }
}

template <typename T>
void AvgPoolForward(const PoolShape& shape, const T* x, T* y, cudaStream_t stream) {
  constexpr char kName[] = "AvgPoolForward";
  CheckShape(kName, shape);
  CheckAligned(kName, "x", x);
  CheckAligned(kName, "y", y);
  Dispatch<T>(shape, [&]<int kWidth, bool kTwoByTwo>() {
    const PlacesLaunch over = OverOutputs<kWidth>(shape);
    Launch(AvgPoolForwardKernel<T, kWidth, kTwoByTwo>, over.blocks, kThreads, 0, stream, shape,
           over.places, x, y);
  });
}

template <typename T>
void AvgPoolBackward(const PoolShape& shape, const T* dy, bool accumulate, T* dx,
                     cudaStream_t stream) {
  constexpr char kName[] = "AvgPoolBackward";
  CheckShape(kName, shape);
  CheckAligned(kName, "dy", dy);
  CheckAligned(kName, "dx", dx);
  Dispatch<T>(shape, [&]<int kWidth, bool kTwoByTwo>() {
    const PlacesLaunch over = OverInputs<kWidth, kTwoByTwo>(shape);
    const Strides strides{Divisor(shape.stride_h), Divisor(shape.stride_w)};
    Launch(AvgPoolBackwardKernel<T, kWidth, kTwoByTwo>, over.blocks, kThreads, 0, stream, shape,
           over.places, strides, dy, accumulate, dx);
  });
}

template void MaxPoolForward(const PoolShape&, const float*, float*, void*, cudaStream_t);
template void MaxPoolForward(const PoolShape&, const bf16*, bf16*, void*, cudaStream_t);
template void MaxPoolBackward(const PoolShape&, const void*, const float*, bool, float*,
                              cudaStream_t);
template void MaxPoolBackward(const PoolShape&, const void*, const bf16*, bool, bf16*,
                              cudaStream_t);
template void AvgPoolForward(const PoolShape&, const float*, float*, cudaStream_t);
template void AvgPoolForward(const PoolShape&, const bf16*, bf16*, cudaStream_t);
template void AvgPoolBackward(const PoolShape&, const float*, bool, float*, cudaStream_t);
template void AvgPoolBackward(const PoolShape&, const bf16*, bool, bf16*, cudaStream_t);

}  // namespace trainyard::kernels::cuda
