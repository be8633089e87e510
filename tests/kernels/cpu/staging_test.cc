#include "kernels/cpu/simd/staging.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/kernels/cpu/simd_checks.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu {
namespace {

using StagingTest = SimdTest;
TRAINYARD_FOR_SIMD_TARGETS(StagingTest);

constexpr int kCases = 60;
constexpr double kRounding = 1e-6;

ImageSize AnySize(Draws& draws) {
  return {draws.Int(1, 9), draws.Int(1, 40), 16 * draws.Int(1, 4)};
}

int64_t Floats(const ImageSize& size) { return int64_t{size.height} * size.width * size.channels; }

Frame AnyFrame(Draws& draws, int height, int width) {
  const int top = draws.Int(0, 2), left = draws.Int(0, 2);
  return {top + height + draws.Int(0, 2), left + width + draws.Int(0, 2), top, left};
}

int64_t Floats(const Frame& frame, int channels) {
  return int64_t{frame.height} * frame.width * channels;
}

int64_t At(int width, int channels, int y, int x, int c) {
  return (int64_t{y} * width + x) * channels + c;
}
int64_t InFrame(const Frame& frame, int channels, int y, int x, int c) {
  return At(frame.width, channels, frame.top + y, frame.left + x, c);
}

// Calls f(y, x, c).
template <class F>
void ForEach(const ImageSize& size, F f) {
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x) {
      for (int c = 0; c < size.channels; ++c) f(y, x, c);
    }
  }
}

// All pixels of an image, or every so many-th of a larger one.
struct DrawnPixels {
  DrawnPixels(Draws& draws, const ImageSize& some)
      : y(draws.Int(1, 3)),
        x(draws.Int(1, 3)),
        whole{some.height * y - draws.Int(0, y - 1), some.width * x - draws.Int(0, x - 1),
              some.channels} {}
  Pitch pitch() const {
    return {int64_t{y} * whole.width * whole.channels, int64_t{x} * whole.channels};
  }
  int64_t Index(int row, int column, int c) const {
    return At(whole.width, whole.channels, row * y, column * x, c);
  }
  const int y, x;
  const ImageSize whole;
};

TEST_P(StagingTest, InputIsReadThroughItsViewAndZerosSurroundIt) {
  Draws draws(1);
  for (int i = 0; i < 2 * kCases; ++i) {
    const ImageSize size = AnySize(draws);
    const DrawnPixels pixels(draws, size);
    const Frame frame = AnyFrame(draws, size.height, size.width);
    const DrawnView drawn = DrawnView::Any(draws, size.channels);
    const std::vector<float> x = draws.Wild(Floats(pixels.whole));
    std::vector<double> expected(Floats(frame, size.channels), 0.0);
    ForEach(size, [&](int y, int w, int c) {
      expected[InFrame(frame, size.channels, y, w, c)] =
          PlainView(drawn.view, c, double{x[pixels.Index(y, w, c)]});
    });
    Bordered<float> staged(Floats(frame, size.channels));
    StageInput(size, x.data(), pixels.pitch(), drawn.view, frame, staged.data());
    ExpectClose(staged, expected, 0, "staged");
    EXPECT_TRUE(staged.BordersIntact());
  }
}

TEST_P(StagingTest, PixelsAreAddedWhereTheyBelong) {
  Draws draws(7);
  for (int i = 0; i < kCases; ++i) {
    const ImageSize size = AnySize(draws);
    const DrawnPixels pixels(draws, size);
    const std::vector<float> some = draws.Quarters(Floats(size));
    Bordered<float> all(draws.Quarters(Floats(pixels.whole)));
    const std::vector<float> before = all.Values();
    std::vector<double> expected(before.begin(), before.end());
    ForEach(size, [&](int y, int x, int c) {
      expected[pixels.Index(y, x, c)] += double{some[At(size.width, size.channels, y, x, c)]};
    });
    AddPixels(size, some.data(), pixels.pitch(), all.data());
    ExpectClose(all, expected, 0, "all");
    EXPECT_TRUE(all.BordersIntact());
  }
}

struct Drained {
  std::vector<double> stored, mean, m2;
  std::vector<int> codes;
};

void PlainMoments(const ImageSize& size, Drained& drained) {
  const double pixels = double(size.height) * size.width;
  drained.mean.assign(size.channels, 0);
  drained.m2.assign(size.channels, 0);
  ForEach(size, [&](int y, int x, int c) {
    drained.mean[c] += drained.stored[At(size.width, size.channels, y, x, c)] / pixels;
  });
  ForEach(size, [&](int y, int x, int c) {
    const double d = drained.stored[At(size.width, size.channels, y, x, c)] - drained.mean[c];
    drained.m2[c] += d * d;
  });
}

Drained PlainDrain(const ImageSize& size, int width, const std::vector<float>& out,
                   const Epilogue& e) {
  const int side = e.pool ? 2 : 1, channels = size.channels;
  const ImageSize to{size.height / side, size.width / side, channels};
  Drained drained;
  ForEach(to, [&](int y, int x, int c) {
    int code = 0;
    double best = 0;
    for (int place = 0; place < side * side; ++place) {
      const int row = side * y + place / 2, column = side * x + place % 2;
      double v = double{out[At(width, channels, row, column, c)]};
      if (e.bias != nullptr) v += double{e.bias[c]};
      if (place == 0 || v > best || (std::isnan(v) && !std::isnan(best))) {
        best = v;
        code = place;
      }
    }
    double stored = PlainAct(best, double{e.slope});
    if (e.keep != nullptr) {
      const bool kept = e.keep[drained.stored.size()] != 0;
      stored = kept ? stored * double{e.keep_scale} : 0;
      code |= kept ? 0 : kDropped;
    }
    drained.stored.push_back(stored);
    drained.codes.push_back(code);
  });
  PlainMoments(to, drained);
  return drained;
}

// Bias, pool, ReLU, keep, codes, moments and streaming each present or not, in every combination.
TEST_P(StagingTest, OutputGoesThroughBiasPoolReluAndDropout) {
  Draws draws(2);
  for (int i = 0; i < 256; ++i) {
    ImageSize size = AnySize(draws);
    size.height += 1;
    size.width += 1;
    const int side = i & 1 ? 2 : 1, width = size.width + draws.Int(0, 3);
    const int64_t floats = int64_t{size.height / side} * (size.width / side) * size.channels;
    const std::vector<float> bias = draws.Quarters(size.channels);
    const std::vector<uint8_t> keep = draws.Bytes(floats, 0, 1);
    const std::vector<float> out =
        i & 32 ? draws.Wild(int64_t{size.height} * width * size.channels)
               : draws.Quarters(int64_t{size.height} * width * size.channels);
    Epilogue e;
    e.pool = side == 2;
    e.bias = i & 2 ? bias.data() : nullptr;
    e.slope = i & 4 ? 0.25f : 1;
    e.keep = i & 8 ? keep.data() : nullptr;
    e.keep_scale = 2;
    Bordered<float> stored(floats), mean(size.channels), m2(size.channels);
    Bordered<uint8_t> codes(floats);
    if (i & 16) e.codes = codes.data();
    if (i & 64) {
      e.mean = mean.data();
      e.m2 = m2.data();
    }
    e.stream = (i & 128) != 0;
    DrainOutput(size, width, out.data(), e, stored.data());
    const Drained expected = PlainDrain(size, width, out, e);
    ExpectClose(stored, expected.stored, 0, "stored");
    EXPECT_TRUE(stored.BordersIntact() && codes.BordersIntact());
    if (i & 16) {
      for (int64_t k = 0; k < floats; ++k) ASSERT_EQ(codes[k], expected.codes[k]) << k;
    }
    if (i & 64) {
      ExpectClose(mean, expected.mean, kRounding, "mean");
      ExpectClose(m2, expected.m2, kRounding, "m2");
      EXPECT_TRUE(mean.BordersIntact() && m2.BordersIntact());
    }
  }
}

// One pass over squares would lose all digits.
TEST_P(StagingTest, DeviationsSurviveAMeanFarFromZero) {
  Draws draws(3);
  const ImageSize size{24, 24, 16};
  std::vector<float> out(Floats(size));
  for (float& v : out) v = 1000 + draws.Quarter();
  Epilogue e;
  Bordered<float> stored(Floats(size)), mean(size.channels), m2(size.channels);
  e.mean = mean.data();
  e.m2 = m2.data();
  DrainOutput(size, size.width, out.data(), e, stored.data());
  const Drained expected = PlainDrain(size, size.width, out, e);
  ExpectClose(mean, expected.mean, kRounding, "mean");
  ExpectClose(m2, expected.m2, kRounding, "m2");
}

// Places of windows by hand: the first of equals, a NaN over everything, the first NaN of two.
TEST_P(StagingTest, FirstLargestOfAWindowWinsAndNanOverAll) {
  const float nan = std::nanf(""), infinity = HUGE_VALF;
  const float windows[][4] = {{1, 1, 1, 1},
                              {0, 1, 1, 0},
                              {2, nan, infinity, 3},
                              {nan, 1, nan, 2},
                              {-1, -2, -3, 0},
                              {infinity, 0, infinity, 0},
                              {-infinity, -infinity, -infinity, -5},
                              {1, 2, nan, nan},
                              {-0.0f, 0, 0, 0}};
  const int places[] = {0, 1, 1, 0, 3, 0, 3, 2, 0};
  for (size_t i = 0; i < std::size(places); ++i) {
    const ImageSize size{2, 2, 16};
    std::vector<float> out(Floats(size));
    ForEach(size, [&](int y, int x, int c) { out[At(2, 16, y, x, c)] = windows[i][2 * y + x]; });
    Bordered<float> stored(16);
    Bordered<uint8_t> codes(16);
    Epilogue e;
    e.pool = true;
    e.codes = codes.data();
    DrainOutput(size, 2, out.data(), e, stored.data());
    for (int c = 0; c < 16; ++c) {
      EXPECT_EQ(codes[c], places[i]) << i;
      const float expected = windows[i][places[i]];
      EXPECT_TRUE(std::isnan(expected) ? std::isnan(stored[c]) : stored[c] == expected) << i;
    }
  }
}

// dy, stored and codes of a gradient, and its view.
struct DrawnGradient {
  std::vector<float> dy, stored, a, b, c;
  std::vector<uint8_t> codes;
  DrawnView view;
  GradientView gradient;

  DrawnGradient(Draws& draws, const ImageSize& size, bool norm, bool pool, bool codes_given)
      : dy(draws.Wild(Floats(size))),
        stored(draws.Wild(Floats(size))),
        a(draws.Quarters(size.channels)),
        b(draws.Quarters(size.channels)),
        c(draws.Quarters(size.channels)),
        codes(draws.Bytes(Floats(size), 0, 7)),
        view(norm ? DrawnView(draws, size.channels, true, draws.Chance(0.5) ? 0.25f : 1)
                  : DrawnView::Any(draws, size.channels)) {
    if (!pool) {
      for (uint8_t& code : codes) code &= kDropped;
    }
    gradient.dy = dy.data();
    gradient.stored = stored.data();
    gradient.view = view.view;
    if (norm) {
      gradient.a = a.data();
      gradient.b = b.data();
      gradient.c = c.data();
    }
    gradient.pool = pool;
    if (codes_given) gradient.codes = codes.data();
    gradient.keep_scale = codes_given ? 2 : 1;
  }

  double Passed(int64_t i, int channel) const {
    const View& v = view.view;
    double g = double{dy[i]}, s = double{stored[i]};
    if (!(PlainArgument(v, channel, s) > 0) && v.slope != 1) g *= double{v.slope};
    if (gradient.a != nullptr) {
      g = double{a[channel]} * (g - double{c[channel]}) +
          double{b[channel]} * (s - double{v.mean[channel]});
    }
    if (gradient.codes == nullptr) return g;
    return codes[i] & kDropped ? 0 : double{gradient.keep_scale} * g;
  }
};

TEST_P(StagingTest, GradientGoesBackThroughReluNormDropoutAndPool) {
  Draws draws(4);
  for (int i = 0; i < 2 * kCases; ++i) {
    const bool pool = i % 3 == 1, codes = i % 3 != 0;
    const ImageSize size = AnySize(draws);
    const DrawnGradient drawn(draws, size, i % 2 == 0, pool, codes);
    const int side = pool ? 2 : 1;
    const Frame frame = AnyFrame(draws, side * size.height, side * size.width);
    std::vector<double> expected(Floats(frame, size.channels), 0.0), sums(size.channels);
    Bordered<float> staged(Floats(frame, size.channels)), found(draws.Quarters(size.channels));
    for (int c = 0; c < size.channels; ++c) sums[c] = double{found[c]};
    ForEach(size, [&](int y, int x, int c) {
      const int64_t at = At(size.width, size.channels, y, x, c);
      const int place = pool ? drawn.codes[at] & kPlaceMask : 0;
      const double g = drawn.Passed(at, c);
      expected[InFrame(frame, size.channels, side * y + place / 2, side * x + place % 2, c)] = g;
      sums[c] += g;
    });
    StageGradient(size, drawn.gradient, frame, staged.data(), i % 5 == 0 ? nullptr : found.data());
    ExpectClose(staged, expected, 0, "staged");
    if (i % 5 != 0) ExpectClose(found, sums, kRounding, "sums");
    EXPECT_TRUE(staged.BordersIntact() && found.BordersIntact());
  }
}

// The sums of one batch norm, and what they should be.
struct DrawnSums {
  DrawnSums(Draws& draws, const ImageSize& size, bool wild)
      : stored(wild ? draws.Wild(Floats(size)) : draws.Quarters(Floats(size))),
        view(draws, size.channels, true, draws.Chance(0.7) ? 0 : 1),
        found_sum(size.channels),
        found_dot(size.channels) {}
  NormSums Of() { return {stored.data(), view.view, found_sum.data(), found_dot.data()}; }
  void Check(const ImageSize& size, const std::vector<double>& dx) const {
    std::vector<double> sum(size.channels), dot(size.channels);
    ForEach(size, [&](int y, int x, int c) {
      const int64_t at = At(size.width, size.channels, y, x, c);
      const bool passes = PlainArgument(view.view, c, double{stored[at]}) > 0;
      const double g = dx[at] * (passes ? 1 : double{view.view.slope});
      sum[c] += g;
      dot[c] += g * (double{stored[at]} - double{view.mean[c]});
    });
    ExpectClose(found_sum, sum, kRounding, "sum");
    ExpectClose(found_dot, dot, kRounding, "dot");
    EXPECT_TRUE(found_sum.BordersIntact() && found_dot.BordersIntact());
  }

  const std::vector<float> stored;
  const DrawnView view;
  Bordered<float> found_sum, found_dot;
};

TEST_P(StagingTest, InputGradientIsStoredStreamedOrAddedThroughReluWithTheNormsSums) {
  Draws draws(5);
  for (int i = 0; i < 6 * kCases; ++i) {
    const ImageSize size = AnySize(draws);
    const int channels = size.channels;
    const Frame frame = AnyFrame(draws, size.height, size.width);
    Bordered<float> staged(draws.Quarters(Floats(frame, channels)));
    const std::vector<float> before = draws.Quarters(Floats(size)), relu = draws.Wild(Floats(size));
    const Write write = static_cast<Write>(i % 3);
    const bool passes_relu = draws.Chance(0.5);
    DrawnSums sums[] = {DrawnSums(draws, size, i % 4 == 0), DrawnSums(draws, size, false)};
    GradientEnd end;
    if (passes_relu) {
      end.stored = relu.data();
      end.slope = 0.25f;
    }
    end.sums_count = draws.Int(0, 2);
    for (int k = 0; k < end.sums_count; ++k) end.sums[k] = sums[k].Of();
    std::vector<double> expected(Floats(size));
    ForEach(size, [&](int y, int x, int c) {
      const int64_t at = At(size.width, channels, y, x, c);
      double g = double{staged[InFrame(frame, channels, y, x, c)]};
      if (write == Write::kAdd) g += double{before[at]};
      expected[at] = passes_relu && !(relu[at] > 0) ? 0.25 * g : g;
    });
    Bordered<float> dx(before);
    DrainGradient(size, frame, staged.data(), write, dx.data(), end);
    ExpectClose(dx, expected, 0, "dx");
    EXPECT_TRUE(dx.BordersIntact() && staged.BordersIntact());
    for (int k = 0; k < end.sums_count; ++k) sums[k].Check(size, expected);
  }
}

// All that staging puts out for values that round, as one run of bytes.
std::vector<float> EverythingStaged() {
  Draws draws(6);
  const ImageSize size{10, 14, 48}, half{5, 7, 48};
  const Frame frame{12, 16, 1, 1};
  DrawnGradient drawn(draws, size, true, false, true);
  drawn.dy = draws.Normals(Floats(size));
  drawn.stored = draws.Normals(Floats(size));
  const std::vector<float> mean = draws.Normals(48), scale = draws.Normals(48),
                           shift = draws.Normals(48), factors = draws.Normals(3 * 48);
  const View view{mean.data(), scale.data(), shift.data(), 0.1f};
  drawn.gradient.dy = drawn.dy.data();
  drawn.gradient.stored = drawn.stored.data();
  drawn.gradient.view = view;
  drawn.gradient.a = factors.data();
  drawn.gradient.b = factors.data() + 48;
  drawn.gradient.c = factors.data() + 96;

  std::vector<float> all;
  const auto add = [&all](const std::vector<float>& values) {
    all.insert(all.end(), values.begin(), values.end());
  };
  std::vector<float> staged(Floats(frame, 48)), stored(Floats(half)), sums(4 * 48),
      dx(Floats(size));
  const Pitch pitch{14 * 48, 48};
  StageInput(size, drawn.dy.data(), pitch, view, frame, staged.data());
  add(staged);
  Epilogue e;
  e.bias = shift.data();
  e.pool = true;
  e.slope = 0.1f;
  e.mean = sums.data();
  e.m2 = sums.data() + 48;
  DrainOutput(size, size.width, drawn.dy.data(), e, stored.data());
  add(stored);
  StageGradient(size, drawn.gradient, frame, staged.data(), sums.data() + 96);
  add(staged);
  add(sums);
  GradientEnd end{drawn.stored.data(), 0.1f};
  end.sums[end.sums_count++] = {drawn.stored.data(), view, sums.data(), sums.data() + 48};
  DrainGradient(size, frame, staged.data(), Write::kAdd, dx.data(), end);
  add(dx);
  add(sums);
  return all;
}

TEST(StagingSameBytesTest, AreTheSameWithAvx3AndAvx2) {
  ExpectSameBytesOnAvx3AndAvx2(EverythingStaged);
}

}  // namespace
}  // namespace trainyard::kernels::cpu
