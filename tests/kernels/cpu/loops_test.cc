#include "kernels/cpu/simd/loops.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/cpu/simd/layout.h"
#include "tests/kernels/cpu/simd_checks.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu {
namespace {

using LoopsTest = SimdTest;
TRAINYARD_FOR_SIMD_TARGETS(LoopsTest);

constexpr int kCases = 40;
constexpr double kRounding = 1e-6;

struct Rows {
  int64_t pixels;
  int channels;

  explicit Rows(Draws& draws) : pixels(draws.Int(1, 100)), channels(16 * draws.Int(1, 4)) {}
  int64_t floats() const { return pixels * channels; }
  int Channel(int64_t i) const { return static_cast<int>(i % channels); }
};

TEST_P(LoopsTest, ActivationIsWhatTheViewReads) {
  Draws draws(1);
  for (int i = 0; i < kCases; ++i) {
    const Rows rows(draws);
    const DrawnView drawn = DrawnView::Any(draws, rows.channels);
    const std::vector<float> x = draws.Wild(rows.floats());
    std::vector<double> expected(rows.floats());
    for (int64_t k = 0; k < rows.floats(); ++k) {
      expected[k] = PlainView(drawn.view, rows.Channel(k), double{x[k]});
    }
    Bordered<float> y(rows.floats());
    Activate(rows.pixels, rows.channels, x.data(), drawn.view, y.data());
    ExpectClose(y, expected, 0, "y");
    EXPECT_TRUE(y.BordersIntact());
  }
}

TEST_P(LoopsTest, SumOfTwoViewsGoesThroughRelu) {
  Draws draws(2);
  for (int i = 0; i < 2 * kCases; ++i) {
    const Rows rows(draws);
    const DrawnView view_a = DrawnView::Any(draws, rows.channels);
    const DrawnView view_b = DrawnView::Any(draws, rows.channels);
    const std::vector<float> a = draws.Wild(rows.floats()), b = draws.Wild(rows.floats());
    const float slope = i % 2 ? 0.25f : 1;
    std::vector<double> expected(rows.floats());
    for (int64_t k = 0; k < rows.floats(); ++k) {
      const double sum = PlainView(view_a.view, rows.Channel(k), double{a[k]}) +
                         PlainView(view_b.view, rows.Channel(k), double{b[k]});
      expected[k] = PlainAct(sum, double{slope});
    }
    Bordered<float> y(rows.floats());
    AddViews(rows.pixels, rows.channels, a.data(), view_a.view, b.data(), view_b.view, slope,
             i % 4 >= 2, y.data());
    ExpectClose(y, expected, 0, "y");
    EXPECT_TRUE(y.BordersIntact());
  }
}

TEST_P(LoopsTest, AnyCountIsAccumulated) {
  Draws draws(3);
  for (int count = 0; count < 70; ++count) {
    const std::vector<float> b = draws.Wild(count);
    Bordered<float> a(draws.Quarters(count));
    std::vector<double> expected(count);
    for (int k = 0; k < count; ++k) expected[k] = double{a[k]} + double{b[k]};
    Accumulate(count, b.data(), a.data());
    ExpectClose(a, expected, 0, "a");
    EXPECT_TRUE(a.BordersIntact());
  }
}

TEST_P(LoopsTest, GradientGoesBackThroughViewAndDropoutInPlace) {
  Draws draws(4);
  for (int i = 0; i < 2 * kCases; ++i) {
    const Rows rows(draws);
    const bool norm = i % 2 == 0;
    const DrawnView drawn = norm ? DrawnView(draws, rows.channels, true, i % 4 ? 0.25f : 1)
                                 : DrawnView::Any(draws, rows.channels);
    const std::vector<float> stored = draws.Wild(rows.floats()),
                             factors = draws.Quarters(3 * rows.channels);
    std::vector<uint8_t> codes = draws.Bytes(rows.floats(), 0, 1);
    for (uint8_t& code : codes) code *= kDropped;
    GradientView gradient;
    gradient.stored = stored.data();
    gradient.view = drawn.view;
    if (norm) {
      gradient.a = factors.data();
      gradient.b = factors.data() + rows.channels;
      gradient.c = factors.data() + 2 * rows.channels;
    }
    if (i % 3) {
      gradient.codes = codes.data();
      gradient.keep_scale = 2;
    }
    Bordered<float> dy(draws.Wild(rows.floats()));
    std::vector<double> expected(rows.floats());
    for (int64_t k = 0; k < rows.floats(); ++k) {
      const int c = rows.Channel(k);
      double g = double{dy[k]};
      if (!(PlainArgument(drawn.view, c, double{stored[k]}) > 0)) g *= double{drawn.view.slope};
      if (norm) {
        g = double{gradient.a[c]} * (g - double{gradient.c[c]}) +
            double{gradient.b[c]} * (double{stored[k]} - double{drawn.mean[c]});
      }
      if (i % 3) g = codes[k] ? 0 : 2 * g;
      expected[k] = g;
    }
    ApplyGradientView(rows.pixels, rows.channels, gradient, dy.data());
    ExpectClose(dy, expected, 0, "dy");
    EXPECT_TRUE(dy.BordersIntact());
  }
}

TEST_P(LoopsTest, RowsGetBiasAndReluInPlaceAndWhatLiesBetweenThemStays) {
  Draws draws(5);
  for (int i = 0; i < kCases; ++i) {
    const Rows rows(draws);
    const int stride = rows.channels + i % 3 * kBlock;
    const std::vector<float> bias = draws.Quarters(rows.channels);
    const int64_t floats = rows.pixels * stride;
    const std::vector<float> x = i % 4 ? draws.Quarters(floats) : draws.Wild(floats);
    Bordered<float> y(x);
    std::vector<double> expected(x.begin(), x.end());
    for (int64_t k = 0; k < floats; ++k) {
      const int64_t c = k % stride;
      if (c >= rows.channels) continue;
      expected[k] = PlainAct(double{x[k]} + (i % 2 ? double{bias[c]} : 0), 0.25);
    }
    BiasActivate(rows.pixels, rows.channels, stride, i % 2 ? bias.data() : nullptr, 0.25f,
                 y.data());
    ExpectClose(y, expected, 0, "y");
    EXPECT_TRUE(y.BordersIntact());
  }
}

TEST_P(LoopsTest, DropoutScalesWhatItKeepsAndClearsTheRest) {
  Draws draws(6);
  for (int i = 0; i < kCases; ++i) {
    const Rows rows(draws);
    const DrawnView drawn = DrawnView::Any(draws, rows.channels);
    const std::vector<float> x = draws.Wild(rows.floats());
    const std::vector<uint8_t> keep = draws.Bytes(rows.floats(), 0, 1);
    std::vector<double> expected(rows.floats());
    for (int64_t k = 0; k < rows.floats(); ++k) {
      if (keep[k]) expected[k] = 4 * PlainView(drawn.view, rows.Channel(k), double{x[k]});
    }
    Bordered<float> y(rows.floats());
    Drop(rows.pixels, rows.channels, x.data(), drawn.view, keep.data(), 4, y.data());
    ExpectClose(y, expected, 0, "y");
    EXPECT_TRUE(y.BordersIntact());
  }
}

// The mean is far from 0: squares summed in one pass would lose the deviations.
TEST_P(LoopsTest, MomentsAreOfTwoPasses) {
  Draws draws(7);
  for (int i = 0; i < kCases; ++i) {
    const Rows rows(draws);
    std::vector<float> x = draws.Quarters(rows.floats());
    for (float& v : x) v += 1000;
    std::vector<double> expected(rows.channels), expected_m2(rows.channels);
    for (int64_t k = 0; k < rows.floats(); ++k) {
      expected[rows.Channel(k)] += double{x[k]} / static_cast<double>(rows.pixels);
    }
    for (int64_t k = 0; k < rows.floats(); ++k) {
      const double d = double{x[k]} - expected[rows.Channel(k)];
      expected_m2[rows.Channel(k)] += d * d;
    }
    Bordered<float> mean(rows.channels), m2(rows.channels);
    Moments(rows.pixels, rows.channels, x.data(), mean.data(), m2.data());
    ExpectClose(mean, expected, kRounding, "mean");
    ExpectClose(m2, expected_m2, kRounding, "m2");
    EXPECT_TRUE(mean.BordersIntact() && m2.BordersIntact());
  }
}

TEST_P(LoopsTest, NormsSumsAreOfTheGradientBehindRelu) {
  Draws draws(8);
  for (int i = 0; i < kCases; ++i) {
    const Rows rows(draws);
    const std::vector<float> dy = draws.Quarters(rows.floats());
    const std::vector<float> stored =
        i % 4 ? draws.Quarters(rows.floats()) : draws.Wild(rows.floats());
    const DrawnView drawn(draws, rows.channels, true, i % 3 ? 0.25f : 1);
    std::vector<double> expected(rows.channels), expected_dot(rows.channels);
    for (int64_t k = 0; k < rows.floats(); ++k) {
      const int c = rows.Channel(k);
      const double x = double{stored[k]};
      const double g =
          double{dy[k]} * (PlainArgument(drawn.view, c, x) > 0 ? 1 : double{drawn.view.slope});
      expected[c] += g;
      expected_dot[c] += g * (x - double{drawn.mean[c]});
    }
    Bordered<float> sum(rows.channels), dot(rows.channels);
    SumForNorm(rows.pixels, rows.channels, dy.data(),
               {stored.data(), drawn.view, sum.data(), dot.data()});
    ExpectClose(sum, expected, kRounding, "sum");
    ExpectClose(dot, expected_dot, kRounding, "dot");
    EXPECT_TRUE(sum.BordersIntact() && dot.BordersIntact());
  }
}

std::vector<float> EverythingSummed() {
  Draws draws(9);
  constexpr int kPixels = 77, kChannels = 48;
  const std::vector<float> x = draws.Normals(kPixels * kChannels), dy = draws.Normals(x.size()),
                           c = draws.Normals(3 * kChannels);
  const View view{c.data(), c.data() + kChannels, c.data() + 2 * kChannels, 0.1f};
  std::vector<float> all(2 * x.size() + 4 * kChannels);
  float *y = all.data(), *sums = y + 2 * x.size();
  Activate(kPixels, kChannels, x.data(), view, y);
  AddViews(kPixels, kChannels, x.data(), view, dy.data(), View(), 0.1f, false, y + x.size());
  Moments(kPixels, kChannels, x.data(), sums, sums + kChannels);
  SumForNorm(kPixels, kChannels, dy.data(),
             {x.data(), view, sums + 2 * kChannels, sums + 3 * kChannels});
  return all;
}

TEST(LoopsSameBytesTest, AreTheSameWithAvx3AndAvx2) {
  ExpectSameBytesOnAvx3AndAvx2(EverythingSummed);
}

}  // namespace
}  // namespace trainyard::kernels::cpu
