#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/cpu/simd/loops.h"
#include "tests/kernels/cpu/simd_checks.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu {
namespace {

using PoolTest = SimdTest;
TRAINYARD_FOR_SIMD_TARGETS(PoolTest);

constexpr int kCases = 60;
constexpr double kRounding = 1e-6;

// Along one edge: less padding than the kernel is long, so that each window touches the image.
void DrawEdge(Draws& draws, int& in, int& out, int& kernel, int& stride, int& pad) {
  in = draws.Int(1, 9);
  kernel = draws.Int(1, 4);
  stride = draws.Int(1, 3);
  pad = draws.Int(0, kernel - 1);
  out = draws.Int(1, (in - 1 + pad) / stride + 1);  // starts within the image
}

Window AnyWindow(Draws& draws) {
  Window w;
  DrawEdge(draws, w.in_h, w.out_h, w.kernel_h, w.stride_h, w.pad_top);
  DrawEdge(draws, w.in_w, w.out_w, w.kernel_w, w.stride_w, w.pad_left);
  w.channels = 16 * draws.Int(1, 3);
  return w;
}

int64_t InFloats(const Window& w) { return int64_t{w.in_h} * w.in_w * w.channels; }
int64_t OutFloats(const Window& w) { return int64_t{w.out_h} * w.out_w * w.channels; }

struct Pixel {
  int64_t at;  // floats
  int place;
};

// Calls f(float of the output, channel, pixels of its window within the image in order).
template <class F>
void ForEachWindow(const Window& w, F f) {
  for (int64_t to = 0; to < OutFloats(w); ++to) {
    const int c = static_cast<int>(to % w.channels);
    const int64_t pixel = to / w.channels;
    const int top = static_cast<int>(pixel / w.out_w) * w.stride_h - w.pad_top;
    const int left = static_cast<int>(pixel % w.out_w) * w.stride_w - w.pad_left;
    std::vector<Pixel> pixels;
    for (int place = 0; place < w.kernel_h * w.kernel_w; ++place) {
      const int y = top + place / w.kernel_w, x = left + place % w.kernel_w;
      if (y < 0 || y >= w.in_h || x < 0 || x >= w.in_w) continue;
      pixels.push_back({(int64_t{y} * w.in_w + x) * w.channels + c, place});
    }
    f(to, c, pixels);
  }
}

TEST_P(PoolTest, MaxIsTheFirstLargestOrNanAndItsGradientGoesThere) {
  Draws draws(1);
  for (int i = 0; i < kCases; ++i) {
    const Window w = AnyWindow(draws);
    const DrawnView drawn = DrawnView::Any(draws, w.channels);
    const std::vector<float> x = draws.Wild(InFloats(w)), dy = draws.Quarters(OutFloats(w));
    std::vector<double> expected(OutFloats(w)), expected_dx(InFloats(w));
    std::vector<int> places(OutFloats(w));
    ForEachWindow(w, [&](int64_t to, int c, const std::vector<Pixel>& pixels) {
      const auto value = [&](const Pixel& p) { return PlainView(drawn.view, c, double{x[p.at]}); };
      Pixel best = pixels[0];
      for (const Pixel& p : pixels) {
        if (value(p) > value(best) || (std::isnan(value(p)) && !std::isnan(value(best)))) best = p;
      }
      expected[to] = value(best);
      places[to] = best.place;
      expected_dx[best.at] += double{dy[to]};
    });
    Bordered<float> y(OutFloats(w)), dx(InFloats(w));
    Bordered<uint16_t> index(OutFloats(w));
    MaxPool(w, x.data(), drawn.view, y.data(), index.data());
    ExpectClose(y, expected, 0, "y");
    for (int64_t k = 0; k < OutFloats(w); ++k) ASSERT_EQ(index[k], places[k]) << k;
    MaxPoolBackward(w, dy.data(), index.data(), dx.data());
    ExpectClose(dx, expected_dx, 0, "dx");
    EXPECT_TRUE(y.BordersIntact() && index.BordersIntact() && dx.BordersIntact());
  }
}

TEST_P(PoolTest, MeanIsOfThePixelsWithinTheImageAndItsGradientIsShared) {
  Draws draws(2);
  for (int i = 0; i < kCases; ++i) {
    const Window w = AnyWindow(draws);
    const DrawnView drawn = DrawnView::Any(draws, w.channels);
    const std::vector<float> x = draws.Wild(InFloats(w)), dy = draws.Quarters(OutFloats(w));
    std::vector<double> expected(OutFloats(w)), expected_dx(InFloats(w));
    ForEachWindow(w, [&](int64_t to, int c, const std::vector<Pixel>& pixels) {
      const double count = static_cast<double>(pixels.size());
      for (const Pixel& p : pixels) {
        expected[to] += PlainView(drawn.view, c, double{x[p.at]}) / count;
        expected_dx[p.at] += double{dy[to]} / count;
      }
    });
    Bordered<float> y(OutFloats(w)), dx(InFloats(w));
    AvgPool(w, x.data(), drawn.view, y.data());
    ExpectClose(y, expected, kRounding, "y");
    AvgPoolBackward(w, dy.data(), dx.data());
    ExpectClose(dx, expected_dx, kRounding, "dx");
    EXPECT_TRUE(y.BordersIntact() && dx.BordersIntact());
  }
}

TEST_P(PoolTest, GlobalMeanIsOfAllPixelsAndItsGradientIsShared) {
  Draws draws(3);
  for (int i = 0; i < kCases; ++i) {
    const int pixels = draws.Int(1, 100), channels = 16 * draws.Int(1, 4);
    const DrawnView drawn = DrawnView::Any(draws, channels);
    const std::vector<float> x = draws.Quarters(int64_t{pixels} * channels),
                             dy = draws.Quarters(channels);
    std::vector<double> expected(channels), expected_dx(x.size());
    for (size_t k = 0; k < x.size(); ++k) {
      const int c = static_cast<int>(k % channels);
      expected[c] += PlainView(drawn.view, c, double{x[k]}) / pixels;
      expected_dx[k] = double{dy[c]} / pixels;
    }
    Bordered<float> y(channels), dx(static_cast<int64_t>(x.size()));
    GlobalPool(pixels, channels, x.data(), drawn.view, y.data());
    ExpectClose(y, expected, kRounding, "y");
    GlobalPoolBackward(pixels, channels, dy.data(), dx.data());
    ExpectClose(dx, expected_dx, kRounding, "dx");
    EXPECT_TRUE(y.BordersIntact() && dx.BordersIntact());
  }
}

}  // namespace
}  // namespace trainyard::kernels::cpu
