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

void StageInput(const ImageSize& size, const float* x, const View& view, const Frame& frame,
                float* staged) {
  ClearAround(frame, size.height, size.width, size.channels, staged);
  const int64_t row = int64_t{size.width} * size.channels;
  WithView(view, [&](auto is) HWY_ATTR {
    for (int y = 0; y < size.height; ++y) {
      ReadRow<typename decltype(is)::Type>(size.width, size.channels, x + y * row, view,
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

template <bool kPool, bool kKeep, bool kCodes>
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
      FetchAhead(stored + at);
      Store(y, stored + at);
      if constexpr (kCodes) StoreBytes(code, codes + at);
    }
  }
}

template <bool kPool, bool kKeep, bool kCodes>
void DrainRows(const ImageSize& size, int width, const float* out, const Epilogue& epilogue,
               float* stored) {
  constexpr int kSide = kPool ? 2 : 1;
  const int64_t out_row = int64_t{width} * size.channels;
  OutputRow row{out, out_row, size.width / kSide, size.channels};
  const int64_t floats = int64_t{row.width} * size.channels;
  const uint8_t* keep = epilogue.keep;
  uint8_t* codes = epilogue.codes;
  for (int y = 0; y < size.height / kSide; ++y) {
    DrainRow<kPool, kKeep, kCodes>(row, epilogue, keep, codes, stored);
    if (epilogue.mean != nullptr) {
      AddSums<ReadPlain>(row.width, size.channels, stored, View(), epilogue.mean);
    }
    row.out += kSide * out_row;
    stored += floats;
    if constexpr (kKeep) keep += floats;
    if constexpr (kCodes) codes += floats;
  }
}

void DrainOutput(const ImageSize& size, int width, const float* out, const Epilogue& epilogue,
                 float* stored) {
  const bool moments = epilogue.mean != nullptr;
  if (moments) Fill(epilogue.mean, size.channels, 0);
  const int kind = (epilogue.pool ? 4 : 0) + (epilogue.keep != nullptr ? 2 : 0) +
                   (epilogue.codes != nullptr ? 1 : 0);
  constexpr decltype(&DrainRows<false, false, false>) kKinds[] = {
      DrainRows<false, false, false>, DrainRows<false, false, true>, DrainRows<false, true, false>,
      DrainRows<false, true, true>,   DrainRows<true, false, false>, DrainRows<true, false, true>,
      DrainRows<true, true, false>,   DrainRows<true, true, true>};
  kKinds[kind](size, width, out, epilogue, stored);
  if (!moments) return;
  const int side = epilogue.pool ? 2 : 1;
  const int64_t pixels = int64_t{size.height / side} * (size.width / side);
  Divide(epilogue.mean, size.channels, pixels);
  Deviations(pixels, size.channels, stored, epilogue.mean, epilogue.m2);
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

void DrainGradient(const ImageSize& size, const Frame& frame, const float* staged, bool accumulate,
                   float* dx, const NormSums* sums) {
  const int channels = size.channels;
  const int64_t floats = int64_t{size.width} * channels;
  if (sums != nullptr) {
    Fill(sums->sum, channels, 0);
    Fill(sums->dot, channels, 0);
  }
  for (int y = 0; y < size.height; ++y) {
    const float* from = Row(frame, channels, y, staged);
    float* to = dx + y * floats;
    for (int64_t i = 0; i < floats; i += kLanes) {
      FetchAhead(to + i);
      const V g = Load(from + i);
      Store(accumulate ? hn::Add(Load(to + i), g) : g, to + i);
    }
    if (sums != nullptr) {
      WithView(sums->view, [&](auto is) HWY_ATTR {
        AddNormSums<typename decltype(is)::Type>(size.width, channels, to,
                                                 sums->stored + y * floats, *sums);
      });
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

void StageInput(const ImageSize& size, const float* x, const View& view, const Frame& frame,
                float* staged) {
  HWY_DYNAMIC_DISPATCH(StageInput)(size, x, view, frame, staged);
}

void DrainOutput(const ImageSize& size, int width, const float* out, const Epilogue& epilogue,
                 float* stored) {
  HWY_DYNAMIC_DISPATCH(DrainOutput)(size, width, out, epilogue, stored);
}

void StageGradient(const ImageSize& size, const GradientView& gradient, const Frame& frame,
                   float* staged, float* sums) {
  HWY_DYNAMIC_DISPATCH(StageGradient)(size, gradient, frame, staged, sums);
}

void DrainGradient(const ImageSize& size, const Frame& frame, const float* staged, bool accumulate,
                   float* dx, const NormSums* sums) {
  HWY_DYNAMIC_DISPATCH(DrainGradient)(size, frame, staged, accumulate, dx, sums);
}

}  // namespace trainyard::kernels::cpu
#endif  // HWY_ONCE
