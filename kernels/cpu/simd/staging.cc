#include "kernels/cpu/simd/staging.h"

#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/staging.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd/reading.inc"

HWY_BEFORE_NAMESPACE();
namespace trainyard::kernels::cpu {
namespace HWY_NAMESPACE {
namespace {

void Clear(float* from, const float* end) {
  std::memset(from, 0, static_cast<size_t>(end - from) * sizeof(float));
}

// Where a frame's image begins a row.
template <class Float>
Float* Row(const Frame& frame, int channels, int y, Float* staged) {
  return staged + (int64_t{frame.top + y} * frame.width + frame.left) * channels;
}

// Zeros everywhere but in the frame's image of height x width.
void ClearAround(const Frame& frame, int height, int width, int channels, float* staged) {
  float* from = staged;
  for (int y = 0; y < height; ++y) {
    float* row = Row(frame, channels, y, staged);
    Clear(from, row);
    from = row + int64_t{width} * channels;
  }
  Clear(from, staged + int64_t{frame.height} * frame.width * channels);
}

// ---- Input ----

void StageInput(const ImageSize& size, const float* x, const Pitch& pitch, const View& view,
                const Frame& frame, float* staged) {
  ClearAround(frame, size.height, size.width, size.channels, staged);
  // Of a strided image: two of the rows that are staged.
  const int64_t ahead = pitch.x == size.channels ? kFloatsAhead : 2 * pitch.y;
  WithView(view, [&](auto is) HWY_ATTR {
    for (int y = 0; y < size.height; ++y) {
      ReadRow<typename decltype(is)::Type>(size.width, size.channels,
                                           {x + y * pitch.y, pitch.x, ahead}, view,
                                           Row(frame, size.channels, y, staged));
    }
  });
}

// ---- Output ----

// A row of the convolution's output, or the upper of two that are pooled.
struct OutputRow {
  const float* out;
  int64_t lower;  // floats from it to the lower row
  int width;      // of what is stored
  int channels;
};

template <bool kPool, bool kKeep, bool kCodes, bool kStream>
HWY_NOINLINE void DrainRow(const OutputRow& row, const Epilogue& epilogue, const uint8_t* keep,
                           uint8_t* codes, float* stored) {
  const int channels = row.channels;
  const V slope = Same(epilogue.slope), scale = Same(epilogue.keep_scale);
  for (int c = 0; c < channels; c += kLanes) {
    const V bias = LoadOrZero(epilogue.bias, c);
    const float* out = row.out + c;
    int64_t at = c;
    for (int x = 0; x < row.width; ++x, at += channels, out += (kPool ? 2 : 1) * channels) {
      V best = hn::Add(Load(out), bias);
      VI code = hn::Zero(DI());
      if constexpr (kPool) {
        const auto next = [&](const float* from, int place) HWY_ATTR {
          const V v = hn::Add(Load(from), bias);
          const Mask wins = Wins(v, best);
          best = hn::IfThenElse(wins, v, best);
          if constexpr (kCodes) {
            code = hn::IfThenElse(hn::RebindMask(DI(), wins), hn::Set(DI(), place), code);
          }
        };
        next(out + channels, 1);
        next(out + row.lower, 2);
        next(out + row.lower + channels, 3);
      }
      V y = Act(best, slope);
      if constexpr (kKeep) {
        const Mask dropped = Equals(LoadBytes(keep + at), 0);
        y = hn::IfThenZeroElse(dropped, hn::Mul(y, scale));
        if constexpr (kCodes) {
          const VI drop =
              hn::IfThenElseZero(hn::RebindMask(DI(), dropped), hn::Set(DI(), int{kDropped}));
          code = hn::Or(code, drop);
        }
      }
      if constexpr (kStream) {
        hn::Stream(y, D(), stored + at);
      } else {
        FetchAhead(stored + at);
        Store(y, stored + at);
      }
      if constexpr (kCodes) StoreBytes(code, codes + at);
    }
  }
}

template <bool kPool, bool kKeep, bool kCodes, bool kStream = false>
void DrainRows(const ImageSize& size, int width, const float* out, const Epilogue& epilogue,
               float* stored) {
  constexpr int kSide = kPool ? 2 : 1;
  const int64_t out_row = int64_t{width} * size.channels;
  OutputRow row{out, out_row, size.width / kSide, size.channels};
  const int64_t floats = int64_t{row.width} * size.channels;
  const uint8_t* keep = epilogue.keep;
  uint8_t* codes = epilogue.codes;
  for (int y = 0; y < size.height / kSide; ++y) {
    DrainRow<kPool, kKeep, kCodes, kStream>(row, epilogue, keep, codes, stored);
    if (epilogue.mean != nullptr) {
      AddSums<ReadPlain>(row.width, size.channels, kStream ? row.out : stored, View(),
                         epilogue.mean);
    }
    row.out += kSide * out_row;
    stored += floats;
    if constexpr (kKeep) keep += floats;
    if constexpr (kCodes) codes += floats;
  }
}

bool Streams(const Epilogue& epilogue) {
  const bool as_it_comes = epilogue.bias == nullptr && epilogue.slope == 1;
  return epilogue.stream && !epilogue.pool && epilogue.keep == nullptr &&
         epilogue.codes == nullptr && (epilogue.mean == nullptr || as_it_comes);
}

void DrainOutput(const ImageSize& size, int width, const float* out, const Epilogue& epilogue,
                 float* stored) {
  const bool moments = epilogue.mean != nullptr, streams = Streams(epilogue);
  if (moments) Fill(epilogue.mean, size.channels, 0);
  if (streams) {
    DrainRows<false, false, false, true>(size, width, out, epilogue, stored);
    hwy::FlushStream();
  } else {
    const int kind = (epilogue.pool ? 4 : 0) + (epilogue.keep != nullptr ? 2 : 0) +
                     (epilogue.codes != nullptr ? 1 : 0);
    constexpr decltype(&DrainRows<false, false, false>) kKinds[] = {
        DrainRows<false, false, false>, DrainRows<false, false, true>,
        DrainRows<false, true, false>,  DrainRows<false, true, true>,
        DrainRows<true, false, false>,  DrainRows<true, false, true>,
        DrainRows<true, true, false>,   DrainRows<true, true, true>};
    kKinds[kind](size, width, out, epilogue, stored);
  }
  if (!moments) return;
  const int side = epilogue.pool ? 2 : 1, height = size.height / side, pixels = size.width / side;
  Divide(epilogue.mean, size.channels, int64_t{height} * pixels);
  Fill(epilogue.m2, size.channels, 0);
  const float* row = streams ? out : stored;
  for (int y = 0; y < height; ++y, row += int64_t{streams ? width : pixels} * size.channels) {
    AddSquares(pixels, size.channels, row, epilogue.mean, epilogue.m2);
  }
}

// ---- The output's gradient ----

template <class Through, Codes kCodes>
void GradientRows(const ImageSize& size, const GradientView& gradient, const Frame& frame,
                  float* staged, float* sums) {
  constexpr int kSide = kCodes == Codes::kPool ? 2 : 1;
  ClearAround(frame, kSide * size.height, kSide * size.width, size.channels, staged);
  for (int y = 0; y < size.height; ++y) {
    GradientRow<Through, kCodes>(
        size.width, size.channels, gradient, int64_t{y} * size.width * size.channels,
        Row(frame, size.channels, kSide * y, staged), int64_t{frame.width} * size.channels, sums);
  }
}

void StageGradient(const ImageSize& size, const GradientView& gradient, const Frame& frame,
                   float* staged, float* sums) {
  WithGradient(gradient, [&](auto is) HWY_ATTR {
    using Through = typename decltype(is)::Type;
    constexpr Codes kNone = Codes::kNone, kDropout = Codes::kDropout, kPool = Codes::kPool;
    if (gradient.pool) return GradientRows<Through, kPool>(size, gradient, frame, staged, sums);
    if (gradient.codes == nullptr) {
      return GradientRows<Through, kNone>(size, gradient, frame, staged, sums);
    }
    GradientRows<Through, kDropout>(size, gradient, frame, staged, sums);
  });
}

// ---- The input's gradient ----

// What is written stays in `row`, for sums.
template <Write kWrite, bool kRelu>
void EndRow(float* row, int64_t floats, const float* stored, float slope, float* to) {
  const V slopes = Same(slope);
  for (int64_t i = 0; i < floats; i += kLanes) {
    V v = Load(row + i);
    if constexpr (kWrite != Write::kStream) FetchAhead(to + i);
    if constexpr (kWrite == Write::kAdd) v = hn::Add(Load(to + i), v);
    if constexpr (kRelu) {
      FetchAhead(stored + i);
      v = ActLike(Load(stored + i), v, slopes);
    }
    if constexpr (kRelu || kWrite == Write::kAdd) Store(v, row + i);
    if constexpr (kWrite == Write::kStream) {
      hn::Stream(v, D(), to + i);
    } else {
      Store(v, to + i);
    }
  }
}

void DrainGradient(const ImageSize& size, const Frame& frame, float* staged, Write write, float* dx,
                   const GradientEnd& end) {
  constexpr decltype(&EndRow<Write::kStore, false>) kRows[][2] = {
      {EndRow<Write::kStore, false>, EndRow<Write::kStore, true>},
      {EndRow<Write::kStream, false>, EndRow<Write::kStream, true>},
      {EndRow<Write::kAdd, false>, EndRow<Write::kAdd, true>}};
  const auto end_row = kRows[static_cast<int>(write)][end.stored != nullptr];
  const int channels = size.channels;
  const int64_t floats = int64_t{size.width} * channels;
  for (int i = 0; i < end.sums_count; ++i) {
    Fill(end.sums[i].sum, channels, 0);
    Fill(end.sums[i].dot, channels, 0);
  }
  for (int y = 0; y < size.height; ++y) {
    float* row = Row(frame, channels, y, staged);
    const float* stored = end.stored == nullptr ? nullptr : end.stored + y * floats;
    end_row(row, floats, stored, end.slope, dx + y * floats);
    for (int i = 0; i < end.sums_count; ++i) {
      const NormSums& sums = end.sums[i];
      WithView(sums.view, [&](auto is) HWY_ATTR {
        AddNormSums<typename decltype(is)::Type>(size.width, channels, row,
                                                 sums.stored + y * floats, sums);
      });
    }
  }
  if (write == Write::kStream) hwy::FlushStream();
}

void AddPixels(const ImageSize& size, const float* from, const Pitch& pitch, float* to) {
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x, from += size.channels) {
      float* pixel = to + y * pitch.y + x * pitch.x;
      for (int c = 0; c < size.channels; c += kLanes) {
        Store(hn::Add(Load(pixel + c), Load(from + c)), pixel + c);
      }
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace trainyard::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trainyard::kernels::cpu {

HWY_EXPORT(StageInput);
HWY_EXPORT(DrainOutput);
HWY_EXPORT(StageGradient);
HWY_EXPORT(DrainGradient);
HWY_EXPORT(AddPixels);

void StageInput(const ImageSize& size, const float* x, const Pitch& pitch, const View& view,
                const Frame& frame, float* staged) {
  HWY_DYNAMIC_DISPATCH(StageInput)(size, x, pitch, view, frame, staged);
}

void DrainOutput(const ImageSize& size, int width, const float* out, const Epilogue& epilogue,
                 float* stored) {
  HWY_DYNAMIC_DISPATCH(DrainOutput)(size, width, out, epilogue, stored);
}

void StageGradient(const ImageSize& size, const GradientView& gradient, const Frame& frame,
                   float* staged, float* sums) {
  HWY_DYNAMIC_DISPATCH(StageGradient)(size, gradient, frame, staged, sums);
}

void DrainGradient(const ImageSize& size, const Frame& frame, float* staged, Write write, float* dx,
                   const GradientEnd& end) {
  HWY_DYNAMIC_DISPATCH(DrainGradient)(size, frame, staged, write, dx, end);
}

void AddPixels(const ImageSize& size, const float* from, const Pitch& pitch, float* to) {
  HWY_DYNAMIC_DISPATCH(AddPixels)(size, from, pitch, to);
}

}  // namespace trainyard::kernels::cpu
#endif  // HWY_ONCE
