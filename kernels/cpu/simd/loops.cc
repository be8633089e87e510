#include "kernels/cpu/simd/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/loops.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd/reading.inc"

HWY_BEFORE_NAMESPACE();
namespace trainyard::kernels::cpu {
namespace HWY_NAMESPACE {
namespace {

void Activate(int64_t pixels, int channels, const float* x, const View& view, float* y) {
  WithView(view, [&](auto is) HWY_ATTR {
    ForRuns(pixels, [&](int64_t first, int64_t run) HWY_ATTR {
      const int64_t at = first * channels;
      ReadRow<typename decltype(is)::Type>(run, channels, {x + at, channels}, view, y + at);
    });
  });
}

// Both views with what they point to, and act's slope.
struct Sum {
  const View &view_a, &view_b;
  float slope;
  bool stream;
};

template <class ReadA, class ReadB>
HWY_NOINLINE void AddRow(int64_t pixels, int channels, const Sum& sum, const float* a,
                         const float* b, float* y) {
  const V slope = Same(sum.slope);
  for (int c = 0; c < channels; c += kLanes) {
    const ReadA read_a(sum.view_a, c);
    const ReadB read_b(sum.view_b, c);
    for (int64_t i = c; i < pixels * channels; i += channels) {
      FetchAhead(a + i);
      FetchAhead(b + i);
      const V v = Act(hn::Add(read_a(Load(a + i)), read_b(Load(b + i))), slope);
      if (sum.stream) {
        hn::Stream(v, D(), y + i);
      } else {
        FetchAhead(y + i);
        Store(v, y + i);
      }
    }
  }
}

void AddViews(int64_t pixels, int channels, const float* a, const View& view_a, const float* b,
              const View& view_b, float slope, bool stream, float* y) {
  const Sum sum{view_a, view_b, slope, stream};
  WithView(view_a, [&](auto is_a) HWY_ATTR {
    WithView(view_b, [&](auto is_b) HWY_ATTR {
      ForRuns(pixels, [&](int64_t first, int64_t run) HWY_ATTR {
        const int64_t at = first * channels;
        AddRow<typename decltype(is_a)::Type, typename decltype(is_b)::Type>(
            run, channels, sum, a + at, b + at, y + at);
      });
    });
  });
  if (stream) hwy::FlushStream();
}

void Accumulate(int64_t count, const float* b, float* a) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) Store(hn::Add(Load(a + i), Load(b + i)), a + i);
  for (; i < count; ++i) a[i] += b[i];
}

void ApplyGradientView(int64_t pixels, int channels, const GradientView& gradient, float* dy) {
  GradientView here = gradient;
  here.dy = dy;
  WithGradient(here, [&](auto is) HWY_ATTR {
    using Through = typename decltype(is)::Type;
    ForRuns(pixels, [&](int64_t first, int64_t run) HWY_ATTR {
      const int64_t at = first * channels;
      if (here.codes == nullptr) {
        GradientRow<Through, Codes::kNone>(run, channels, here, at, dy + at, 0, nullptr);
      } else {
        GradientRow<Through, Codes::kDropout>(run, channels, here, at, dy + at, 0, nullptr);
      }
    });
  });
}

void BiasActivate(int64_t rows, int channels, int64_t stride, const float* bias, float slope,
                  float* y) {
  const V factor = Same(slope);
  for (int64_t row = 0; row < rows; ++row, y += stride) {
    for (int c = 0; c < channels; c += kLanes) {
      Store(Act(hn::Add(Load(y + c), LoadOrZero(bias, c)), factor), y + c);
    }
  }
}

template <class Read>
HWY_NOINLINE void DropRow(int64_t pixels, int channels, const float* x, const View& view,
                          const uint8_t* keep, float scale, float* y) {
  const V factor = Same(scale);
  for (int c = 0; c < channels; c += kLanes) {
    const Read read(view, c);
    for (int64_t i = c; i < pixels * channels; i += channels) {
      const Mask dropped = Equals(LoadBytes(keep + i), 0);
      Store(hn::IfThenZeroElse(dropped, hn::Mul(read(Load(x + i)), factor)), y + i);
    }
  }
}

void Drop(int64_t pixels, int channels, const float* x, const View& view, const uint8_t* keep,
          float scale, float* y) {
  WithView(view, [&](auto is) HWY_ATTR {
    ForRuns(pixels, [&](int64_t first, int64_t run) HWY_ATTR {
      const int64_t at = first * channels;
      DropRow<typename decltype(is)::Type>(run, channels, x + at, view, keep + at, scale, y + at);
    });
  });
}

void Moments(int64_t pixels, int channels, const float* x, float* mean, float* m2) {
  Fill(mean, channels, 0);
  ForRuns(pixels, [&](int64_t first, int64_t run) HWY_ATTR {
    AddSums<ReadPlain>(run, channels, x + first * channels, View(), mean);
  });
  Divide(mean, channels, pixels);
  Fill(m2, channels, 0);
  ForRuns(pixels, [&](int64_t first, int64_t run)
                      HWY_ATTR { AddSquares(run, channels, x + first * channels, mean, m2); });
}

void SumForNorm(int64_t pixels, int channels, const float* dy, const NormSums& sums) {
  Fill(sums.sum, channels, 0);
  Fill(sums.dot, channels, 0);
  WithView(sums.view, [&](auto is) HWY_ATTR {
    ForRuns(pixels, [&](int64_t first, int64_t run) HWY_ATTR {
      const int64_t at = first * channels;
      AddNormSums<typename decltype(is)::Type>(run, channels, dy + at, sums.stored + at, sums);
    });
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace trainyard::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trainyard::kernels::cpu {

HWY_EXPORT(Activate);
HWY_EXPORT(AddViews);
HWY_EXPORT(Accumulate);
HWY_EXPORT(ApplyGradientView);
HWY_EXPORT(BiasActivate);
HWY_EXPORT(Drop);
HWY_EXPORT(Moments);
HWY_EXPORT(SumForNorm);

void Activate(int64_t pixels, int channels, const float* x, const View& view, float* y) {
  HWY_DYNAMIC_DISPATCH(Activate)(pixels, channels, x, view, y);
}

void AddViews(int64_t pixels, int channels, const float* a, const View& view_a, const float* b,
              const View& view_b, float slope, bool stream, float* y) {
  HWY_DYNAMIC_DISPATCH(AddViews)(pixels, channels, a, view_a, b, view_b, slope, stream, y);
}

void Accumulate(int64_t count, const float* b, float* a) {
  HWY_DYNAMIC_DISPATCH(Accumulate)(count, b, a);
}

void ApplyGradientView(int64_t pixels, int channels, const GradientView& gradient, float* dy) {
  HWY_DYNAMIC_DISPATCH(ApplyGradientView)(pixels, channels, gradient, dy);
}

void BiasActivate(int64_t rows, int channels, int64_t stride, const float* bias, float slope,
                  float* y) {
  HWY_DYNAMIC_DISPATCH(BiasActivate)(rows, channels, stride, bias, slope, y);
}

void Drop(int64_t pixels, int channels, const float* x, const View& view, const uint8_t* keep,
          float scale, float* y) {
  HWY_DYNAMIC_DISPATCH(Drop)(pixels, channels, x, view, keep, scale, y);
}

void Moments(int64_t pixels, int channels, const float* x, float* mean, float* m2) {
  HWY_DYNAMIC_DISPATCH(Moments)(pixels, channels, x, mean, m2);
}

void SumForNorm(int64_t pixels, int channels, const float* dy, const NormSums& sums) {
  HWY_DYNAMIC_DISPATCH(SumForNorm)(pixels, channels, dy, sums);
}

}  // namespace trainyard::kernels::cpu
#endif  // HWY_ONCE
