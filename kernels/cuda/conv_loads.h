// How the operands of a convolution's matrix product come from device memory, step by step
// (kernels/cuda/conv_tile.h). Each class has Load(where): this thread's share of the next step,
// with zeros for padding and for whatever lies beyond the ends. For kernel sources only.
//
// Positions are unsigned: those before the image wrap around and lie beyond its end.
#pragma once

#include "kernels/cuda/conv_shape.h"
#include "kernels/cuda/conv_tile.h"

namespace trainyard::kernels::cuda {

// A position in three nested loops, and the sizes of the two inner ones. Divides once; from then on
// it walks by steps that are positions themselves.
struct Walk {
  unsigned outer, middle, inner;
};

struct Loops {
  unsigned middle, inner;

  __device__ __forceinline__ Walk At(unsigned flat) const {
    const unsigned rest = flat / inner;
    return {rest / middle, rest % middle, flat % inner};
  }
  __device__ __forceinline__ void Advance(Walk& walk, const Walk& step) const {
    walk.inner += step.inner;
    const bool past_inner = walk.inner >= inner;
    if (past_inner) walk.inner -= inner;
    walk.middle += step.middle + past_inner;
    const bool past_middle = walk.middle >= middle;
    if (past_middle) walk.middle -= middle;
    walk.outer += step.outer + past_middle;
  }
};

// A thread's share of an operand: one position in lines that lie kStride apart.
template <typename T, typename Operand, bool kVector>
struct ConvShare {
  static constexpr int kWidth = kVector ? Vector<T>::kSize : 1;
  static constexpr int kPerLine = Operand::kLength / kWidth;
  static constexpr int kStride = kConvThreads / kPerLine;
  static constexpr int kCount = Operand::kLines / kStride;
  static_assert(kStride * kPerLine == kConvThreads && kCount * kStride == Operand::kLines);

  static __device__ __forceinline__ int Line() { return threadIdx.x / kPerLine; }
  static __device__ __forceinline__ int Position() { return threadIdx.x % kPerLine * kWidth; }

  // The share's i-th line, from base[offset]; where not `valid`, offset may lie anywhere.
  static __device__ __forceinline__ void Copy(T* operand, int i, const T* base, unsigned offset,
                                              bool valid) {
    // Lines of vectors lie so far apart that they are mixed alike (ConvOperand).
    static_assert(!kVector || kStride % 8 == 0 || (sizeof(T) == 4 && kStride % 4 == 0));
    const int at = kVector ? Operand::Beyond(Operand::At(Line(), Position()), i * kStride, 0)
                           : Operand::At(Line() + i * kStride, Position());
    T* to = operand + at;
    const T* from = base + offset;
    if constexpr (kWidth * sizeof(T) >= 4) {
      AsyncCopy<kWidth * sizeof(T)>(to, from, valid);
    } else {
      *to = valid ? *from : T{};
    }
  }
};

// A matrix in device memory whose lines are `pitch` apart.
template <typename Tile, typename MatrixOperand>
class MatrixLoad {
 public:
  using Operand = MatrixOperand;
  using T = typename Tile::T;

  // The matrix starts at tensor[start] and ends with zeros from `lines` and `length` on. The first
  // step is at line, position.
  __device__ __forceinline__ MatrixLoad(const T* tensor, unsigned start, unsigned pitch,
                                        unsigned lines, unsigned length, unsigned line,
                                        unsigned position)
      : tensor_(tensor),
        start_(start),
        pitch_(pitch),
        lines_(lines),
        length_(length),
        line_(line + Share::Line()),
        position_(position + Share::Position()) {}

  __device__ __forceinline__ void Load(T* operand) {
#pragma unroll
    for (int i = 0; i < Share::kCount; ++i) {
      const unsigned line = line_ + i * Share::kStride;
      Share::Copy(operand, i, tensor_, line * pitch_ + (start_ + position_),
                  line < lines_ && position_ < length_);
    }
    (Operand::kDepthInLine ? position_ : line_) += Tile::kDepth;
  }

 private:
  using Share = ConvShare<T, Operand, Tile::kVector>;
  const T* tensor_;
  unsigned start_, pitch_, lines_, length_, line_, position_;
};

// Images, and a grid of windows over each: window (i, j) starts at row i stride_h + origin_h and
// column j stride_w + origin_w, and has taps_h x taps_w pixels of `channels`.
struct Windows {
  unsigned image_h, image_w, pitch;  // pitch: channels from pixel to pixel
  unsigned grid_h, grid_w, stride_h, stride_w, origin_h, origin_w;
  unsigned taps_h, taps_w, channels, first_channel;
};

// The windows over x from which a convolution makes a group's part of the pixels of y.
__device__ __forceinline__ Windows WindowsOverInput(const ConvShape& shape, unsigned group) {
  Windows windows;
  windows.image_h = shape.in_h, windows.image_w = shape.in_w, windows.pitch = shape.in_c;
  windows.grid_h = shape.out_h, windows.grid_w = shape.out_w;
  windows.stride_h = shape.stride_h, windows.stride_w = shape.stride_w;
  windows.origin_h = -shape.pad_top, windows.origin_w = -shape.pad_left;
  windows.taps_h = shape.kernel_h, windows.taps_w = shape.kernel_w;
  windows.channels = shape.in_c / shape.groups;
  windows.first_channel = group * windows.channels;
  return windows;
}

// Rows: windows. Depth: (tap row, tap column, channel).
template <typename Tile>
class WindowRowsLoad {
 public:
  using Operand = ConvOperand<typename Tile::T, Tile::kRows, true>;
  using T = typename Tile::T;

  // Windows `first` to `end` of all images.
  __device__ __forceinline__ WindowRowsLoad(const T* images, const Windows& windows, unsigned first,
                                            unsigned end)
      : images_(images),
        windows_(windows),
        taps_{windows.taps_w, windows.channels},
        tap_(taps_.At(Share::Position())),
        step_(taps_.At(Tile::kDepth)) {
    const Loops grid{windows.grid_h, windows.grid_w};
    Walk window = grid.At(first + Share::Line());
    const Walk next = grid.At(Share::kStride);
#pragma unroll
    for (int i = 0; i < Share::kCount; ++i) {
      const bool exists = first + Share::Line() + i * Share::kStride < end;
      const unsigned top = window.middle * windows.stride_h + windows.origin_h;
      left_[i] = window.inner * windows.stride_w + windows.origin_w;
      offset_[i] =
          ((window.outer * windows.image_h + top) * windows.image_w + left_[i]) * windows.pitch +
          windows.first_channel;
      top_[i] = exists ? top : kNowhere;
      grid.Advance(window, next);
    }
  }

  __device__ __forceinline__ void Load(T* operand) {
    const unsigned offset =
        (tap_.outer * windows_.image_w + tap_.middle) * windows_.pitch + tap_.inner;
#pragma unroll
    for (int i = 0; i < Share::kCount; ++i) {
      const bool valid = tap_.outer < windows_.taps_h && top_[i] + tap_.outer < windows_.image_h &&
                         left_[i] + tap_.middle < windows_.image_w;
      Share::Copy(operand, i, images_, offset_[i] + offset, valid);
    }
    taps_.Advance(tap_, step_);
  }

 private:
  using Share = ConvShare<T, Operand, Tile::kVector>;
  static constexpr unsigned kNowhere = 1u << 31;  // outside with any tap
  const T* images_;
  Windows windows_;
  Loops taps_;
  Walk tap_, step_;
  unsigned top_[Share::kCount], left_[Share::kCount], offset_[Share::kCount];
};

// The same pixels the other way around. Columns: (tap row, tap column, channel). Depth: windows.
template <typename Tile>
class WindowColumnsLoad {
 public:
  using Operand = ConvOperand<typename Tile::T, Tile::kColumns, false>;
  using T = typename Tile::T;

  // Columns from first_column on; windows `first` to `end` of all images.
  __device__ __forceinline__ WindowColumnsLoad(const T* images, const Windows& windows,
                                               unsigned first_column, unsigned first, unsigned end)
      : images_(images),
        windows_(windows),
        grid_{windows.grid_h, windows.grid_w},
        window_(grid_.At(first + Share::Line())),
        next_(grid_.At(Share::kStride)),
        flat_(first + Share::Line()),
        end_(end) {
    const Loops taps{windows.taps_w, windows.channels};
    const Walk tap = taps.At(first_column + Share::Position());
    top_ = windows.origin_h + tap.outer;
    left_ = windows.origin_w + tap.middle;
    channel_ = windows.first_channel + tap.inner;
    if (tap.outer >= windows.taps_h) end_ = 0;
  }

  __device__ __forceinline__ void Load(T* operand) {
#pragma unroll
    for (int i = 0; i < Share::kCount; ++i) {
      const unsigned h = window_.middle * windows_.stride_h + top_;
      const unsigned w = window_.inner * windows_.stride_w + left_;
      const bool valid = flat_ < end_ && h < windows_.image_h && w < windows_.image_w;
      const unsigned pixel = (window_.outer * windows_.image_h + h) * windows_.image_w + w;
      Share::Copy(operand, i, images_, pixel * windows_.pitch + channel_, valid);
      grid_.Advance(window_, next_);
      flat_ += Share::kStride;
    }
  }

 private:
  using Share = ConvShare<T, Operand, Tile::kVector>;
  const T* images_;
  Windows windows_;
  Loops grid_;
  Walk window_, next_;
  unsigned flat_, end_;
  unsigned top_, left_, channel_;
};

// Weights by channel, with the taps that one phase of the backward pass sees, the last one first:
// tap (a, b) is the weight at (last_h - a stride_h, last_w - b stride_w).
struct PhaseTaps {
  unsigned filters, kernel_h, kernel_w, channels;
  unsigned taps_h, taps_w, last_h, last_w, stride_h, stride_w;
  unsigned start;  // of the group's weights
};

// Columns: channels. Depth: (tap row, tap column, filter).
template <typename Tile>
class WeightColumnsLoad {
 public:
  using Operand = ConvOperand<typename Tile::T, Tile::kColumns, false>;
  using T = typename Tile::T;

  __device__ __forceinline__ WeightColumnsLoad(const T* weights, const PhaseTaps& taps,
                                               unsigned first_channel)
      : weights_(weights),
        taps_(taps),
        loops_{taps.taps_w, taps.filters},
        at_(loops_.At(Share::Line())),
        next_(loops_.At(Share::kStride)),
        channel_(first_channel + Share::Position()) {}

  __device__ __forceinline__ void Load(T* operand) {
#pragma unroll
    for (int i = 0; i < Share::kCount; ++i) {
      const unsigned r = taps_.last_h - at_.outer * taps_.stride_h;
      const unsigned s = taps_.last_w - at_.middle * taps_.stride_w;
      const unsigned tap = (at_.inner * taps_.kernel_h + r) * taps_.kernel_w + s;
      Share::Copy(operand, i, weights_, tap * taps_.channels + (taps_.start + channel_),
                  at_.outer < taps_.taps_h && channel_ < taps_.channels);
      loops_.Advance(at_, next_);
    }
  }

 private:
  using Share = ConvShare<T, Operand, Tile::kVector>;
  const T* weights_;
  PhaseTaps taps_;
  Loops loops_;
  Walk at_, next_;
  unsigned channel_;
};

}  // namespace trainyard::kernels::cuda
