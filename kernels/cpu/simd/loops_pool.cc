#include <cmath>
#include <cstring>

#include "kernels/cpu/simd/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/loops_pool.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd/reading.inc"

HWY_BEFORE_NAMESPACE();
namespace trainyard::kernels::cpu {
namespace HWY_NAMESPACE {
namespace {

using DPlaces = hn::Rebind<uint16_t, D>;

// The part of a window that lies within the image, along one edge: [begin, end) of the kernel.
struct Range {
  int begin, end;
  int size() const { return end - begin; }
};

HWY_INLINE Range Inside(int start, int kernel, int size) {
  return {HWY_MAX(0, -start), HWY_MIN(kernel, size - start)};
}

// A window at one place.
struct Place {
  Range rows, columns;
  int64_t corner;  // floats from the image's to the window's, which may lie outside
  int64_t out;     // floats behind y

  int count() const { return rows.size() * columns.size(); }
};

// Calls channels(c, places) for each row of y and each vector of channels; places(f) calls f(Place)
// along the row.
template <class F>
HWY_INLINE void ForWindows(const Window& w, F f) {
  for (int oy = 0; oy < w.out_h; ++oy) {
    const int top = oy * w.stride_h - w.pad_top;
    const Range rows = Inside(top, w.kernel_h, w.in_h);
    for (int c = 0; c < w.channels; c += kLanes) {
      f(c, [&](auto visit) HWY_ATTR {
        for (int ox = 0; ox < w.out_w; ++ox) {
          const int left = ox * w.stride_w - w.pad_left;
          visit(Place{rows, Inside(left, w.kernel_w, w.in_w),
                      (int64_t{top} * w.in_w + left) * w.channels + c,
                      (int64_t{oy} * w.out_w + ox) * w.channels + c});
        }
      });
    }
  }
}

// Calls f(floats behind the image, place in the window) for what lies within the image.
template <class F>
HWY_INLINE void ForPixels(const Window& w, const Place& place, F f) {
  for (int ky = place.rows.begin; ky < place.rows.end; ++ky) {
    for (int kx = place.columns.begin; kx < place.columns.end; ++kx) {
      f(place.corner + (int64_t{ky} * w.in_w + kx) * w.channels, ky * w.kernel_w + kx);
    }
  }
}

void ClearImage(const Window& w, float* dx) {
  std::memset(dx, 0, sizeof(float) * w.in_h * w.in_w * w.channels);
}

template <class Read>
HWY_NOINLINE void MaxPoolOf(const Window& w, const float* x, const View& view, float* y,
                            uint16_t* index) {
  ForWindows(w, [&](int c, auto places) HWY_ATTR {
    const Read read(view, c);
    places([&](const Place& place) HWY_ATTR {
      // Anything wins over it but -infinity, which wins at the first place all the same.
      V best = Same(-HUGE_VALF);
      VI at = hn::Set(DI(), place.rows.begin * w.kernel_w + place.columns.begin);
      ForPixels(w, place, [&](int64_t from, int number) HWY_ATTR {
        const V v = read(Load(x + from));
        const Mask wins = Wins(v, best);
        best = hn::IfThenElse(wins, v, best);
        at = hn::IfThenElse(hn::RebindMask(DI(), wins), hn::Set(DI(), number), at);
      });
      Store(best, y + place.out);
      hn::StoreU(hn::DemoteTo(DPlaces(), at), DPlaces(), index + place.out);
    });
  });
}

void MaxPool(const Window& w, const float* x, const View& view, float* y, uint16_t* index) {
  WithView(view,
           [&](auto is) HWY_ATTR { MaxPoolOf<typename decltype(is)::Type>(w, x, view, y, index); });
}

void MaxPoolBackward(const Window& w, const float* dy, const uint16_t* index, float* dx) {
  ClearImage(w, dx);
  ForWindows(w, [&](int /*c*/, auto places) HWY_ATTR {
    places([&](const Place& place) HWY_ATTR {
      const V d = Load(dy + place.out);
      const VI at = hn::PromoteTo(DI(), hn::LoadU(DPlaces(), index + place.out));
      ForPixels(w, place, [&](int64_t to, int number) HWY_ATTR {
        const V mine = hn::IfThenElseZero(Equals(at, number), d);
        Store(hn::Add(Load(dx + to), mine), dx + to);
      });
    });
  });
}

template <class Read>
HWY_NOINLINE void AvgPoolOf(const Window& w, const float* x, const View& view, float* y) {
  ForWindows(w, [&](int c, auto places) HWY_ATTR {
    const Read read(view, c);
    places([&](const Place& place) HWY_ATTR {
      V sum = hn::Zero(D());
      ForPixels(w, place, [&](int64_t from, int /*number*/) HWY_ATTR {
        sum = hn::Add(sum, read(Load(x + from)));
      });
      Store(hn::Div(sum, Same(static_cast<float>(place.count()))), y + place.out);
    });
  });
}

void AvgPool(const Window& w, const float* x, const View& view, float* y) {
  WithView(view, [&](auto is) HWY_ATTR { AvgPoolOf<typename decltype(is)::Type>(w, x, view, y); });
}

void AvgPoolBackward(const Window& w, const float* dy, float* dx) {
  ClearImage(w, dx);
  ForWindows(w, [&](int /*c*/, auto places) HWY_ATTR {
    places([&](const Place& place) HWY_ATTR {
      const V share = hn::Div(Load(dy + place.out), Same(static_cast<float>(place.count())));
      ForPixels(w, place, [&](int64_t to, int /*number*/) HWY_ATTR {
        Store(hn::Add(Load(dx + to), share), dx + to);
      });
    });
  });
}

void GlobalPool(int64_t pixels, int channels, const float* x, const View& view, float* y) {
  Fill(y, channels, 0);
  WithView(view, [&](auto is) HWY_ATTR {
    ForRuns(pixels, [&](int64_t first, int64_t run) HWY_ATTR {
      AddSums<typename decltype(is)::Type>(run, channels, x + first * channels, view, y);
    });
  });
  Divide(y, channels, pixels);
}

void GlobalPoolBackward(int64_t pixels, int channels, const float* dy, float* dx) {
  const V count = Same(static_cast<float>(pixels));
  for (int c = 0; c < channels; c += kLanes) {
    const V share = hn::Div(Load(dy + c), count);
    for (int64_t i = c; i < pixels * channels; i += channels) Store(share, dx + i);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace trainyard::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trainyard::kernels::cpu {

HWY_EXPORT(MaxPool);
HWY_EXPORT(MaxPoolBackward);
HWY_EXPORT(AvgPool);
HWY_EXPORT(AvgPoolBackward);
HWY_EXPORT(GlobalPool);
HWY_EXPORT(GlobalPoolBackward);

void MaxPool(const Window& window, const float* x, const View& view, float* y, uint16_t* index) {
  HWY_DYNAMIC_DISPATCH(MaxPool)(window, x, view, y, index);
}

void MaxPoolBackward(const Window& window, const float* dy, const uint16_t* index, float* dx) {
  HWY_DYNAMIC_DISPATCH(MaxPoolBackward)(window, dy, index, dx);
}

void AvgPool(const Window& window, const float* x, const View& view, float* y) {
  HWY_DYNAMIC_DISPATCH(AvgPool)(window, x, view, y);
}

void AvgPoolBackward(const Window& window, const float* dy, float* dx) {
  HWY_DYNAMIC_DISPATCH(AvgPoolBackward)(window, dy, dx);
}

void GlobalPool(int64_t pixels, int channels, const float* x, const View& view, float* y) {
  HWY_DYNAMIC_DISPATCH(GlobalPool)(pixels, channels, x, view, y);
}

void GlobalPoolBackward(int64_t pixels, int channels, const float* dy, float* dx) {
  HWY_DYNAMIC_DISPATCH(GlobalPoolBackward)(pixels, channels, dy, dx);
}

}  // namespace trainyard::kernels::cpu
#endif  // HWY_ONCE
