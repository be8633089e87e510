#include "tests/kernels/cpu/conv_scenario.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace trainyard::kernels::cpu::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> ChannelValues(Draws& draws, int channels) {
  std::vector<float> values = draws.Normals(channels);
  values.resize(Padded(channels));
  return values;
}

std::vector<float> RandomActivations(const Activations& form, Draws& draws) {
  return form.From(draws.Normals(form.layout.batch * form.layout.shape.size()));
}

std::vector<double> InDouble(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

// What the convolution reads, canonical.
std::vector<double> ReadInDouble(const Activations& in, const std::vector<float>& x,
                                 const View& view) {
  std::vector<double> read(x.size());
  in.ForEach([&](int64_t, int64_t i, int c) { read[i] = PlainView(view, c, x[i]); });
  return read;
}

using OnLines = std::vector<float, LineAllocator<float>>;  // may be streamed to

// Of the gradient of some pixels.
constexpr Stride kSome = {2, 3};
// Of the ReLU that made x.
constexpr float kEndSlope = 0.5f;

Layout SomePixels(Layout layout) {
  layout.shape.height = (layout.shape.height + kSome.y - 1) / kSome.y;
  layout.shape.width = (layout.shape.width + kSome.x - 1) / kSome.x;
  return layout;
}

// Calls body(index in `some`, index in `all`), both canonical.
template <typename Body>
void ForEachOfSome(const Layout& some, const Layout& all, const Stride& stride, const Body& body) {
  const int64_t width = some.shape.width;
  for (int64_t i = 0; i < some.batch * some.shape.size(); ++i) {
    const int64_t plane = i / some.plane(), pixel = i % some.plane();
    const int64_t y = pixel / width * stride.y, x = pixel % width * stride.x;
    body(i, plane * all.plane() + y * all.shape.width + x);
  }
}

// The four of a window, or the one.
struct Window {
  Window(const Layout& stored, const Layout& out, bool pool, int64_t canonical) : width(0) {
    const int64_t plane = canonical / stored.plane(), pixel = canonical % stored.plane();
    const int64_t y = pixel / stored.shape.width, x = pixel % stored.shape.width;
    width = out.shape.width;
    first = plane * out.plane() + (pool ? 2 * y * width + 2 * x : y * width + x);
    places = pool ? 4 : 1;
  }
  int64_t At(int place) const { return first + place / 2 * width + place % 2; }
  int64_t first = 0, width;
  int places = 1;
};

void CheckMoments(const Layout& stored, const Outputs& found) {
  std::vector<double> mean(found.mean.size()), squares(found.m2.size());
  // Of deviations and of the values themselves: where there are hardly any deviations, rounding is
  // to be compared with the values.
  std::vector<float> found_squares(found.m2.size());
  const int channels = stored.channels();
  for (size_t s = 0; s < mean.size(); ++s) {
    const float* values = found.stored.data() + s / channels * stored.image() + s % channels;
    double sum_of_squares = 0;
    for (int64_t p = 0; p < stored.plane(); ++p) mean[s] += values[p * channels];
    mean[s] /= static_cast<double>(stored.plane());
    for (int64_t p = 0; p < stored.plane(); ++p) {
      const double value = values[p * channels];
      squares[s] += (value - mean[s]) * (value - mean[s]);
      sum_of_squares += value * value;
    }
    squares[s] += sum_of_squares;
    found_squares[s] = static_cast<float>(found.m2[s] + sum_of_squares);
  }
  EXPECT_LT(Distance(found.mean, mean), 1e-5);
  EXPECT_LT(Distance(found_squares, squares), 1e-5);
}

}  // namespace

Around RandomAround(Draws& draws, const ConvCase& conv) {
  const bool plain_input = conv.plain_input;
  const float slopes[] = {0, 0.25f, 1};
  Around around;
  around.norm_before = !plain_input && draws.Chance(0.5);
  around.slope_before = plain_input ? 1 : slopes[draws.Int(0, 2)];
  around.norm_after = draws.Chance(0.5);
  around.bias = draws.Chance(0.5);
  // With a stride there may be no window.
  around.pool = conv.op.stride_h == 1 && conv.op.stride_w == 1 && draws.Chance(0.5);
  around.dropout = draws.Chance(0.5);
  around.accumulate = draws.Chance(0.5);
  around.stream = draws.Chance(0.5);
  around.more = draws.Chance(0.3);
  around.relu_end = draws.Chance(0.3);
  around.two_sums = draws.Chance(0.3);
  around.slope = around.norm_after ? 1 : slopes[draws.Int(0, 2)];
  around.slope_after = around.norm_after ? slopes[draws.Int(0, 2)] : around.slope;
  return around;
}

Norm::Norm(Draws& draws, int channels)
    : mean(ChannelValues(draws, channels)),
      scale(ChannelValues(draws, channels)),
      shift(ChannelValues(draws, channels)) {}

void ExpectSame(const Outputs& a, const Outputs& b) {
  const auto same = [](const auto& left, const auto& right) {
    return left.size() == right.size() &&
           std::memcmp(left.data(), right.data(), left.size() * sizeof(left[0])) == 0;
  };
  EXPECT_TRUE(same(a.stored, b.stored));
  EXPECT_TRUE(same(a.codes, b.codes));
  EXPECT_TRUE(same(a.mean, b.mean) && same(a.m2, b.m2));
  EXPECT_TRUE(same(a.dx, b.dx));
  EXPECT_TRUE(same(a.dw, b.dw) && same(a.db, b.db));
  EXPECT_TRUE(same(a.norm_sum, b.norm_sum) && same(a.norm_dot, b.norm_dot));
  EXPECT_TRUE(same(a.other_sum, b.other_sum) && same(a.other_dot, b.other_dot));
}

Scenario::Scenario(const ConvCase& conv, const Around& around, uint32_t seed, bool in_chunks)
    : around_(around),
      sample_(conv, seed),
      convolution_(in_chunks ? Convolution(sample_.geometry(), around.pool,
                                           MakeWinogradBatchCore(sample_.geometry()))
                             : Convolution(sample_.geometry(), around.pool)),
      in_{{conv.images, sample_.geometry().in}},
      out_{{conv.images, sample_.geometry().out}},
      stored_{convolution_.stored()},
      gradient_{convolution_.gradient()},
      some_{SomePixels(in_.layout)},
      draws_(seed + 1),
      before_(draws_, in_.layout.shape.channels),
      after_(draws_, out_.layout.shape.channels),
      other_(draws_, in_.layout.shape.channels),
      x_(conv.plain_input ? sample_.x() : in_.From(sample_.x())),
      dx_before_(RandomActivations(gradient_, draws_)),
      more_(RandomActivations(some_, draws_)),
      bias_(ChannelValues(draws_, out_.layout.shape.channels)),
      a_(ChannelValues(draws_, out_.layout.shape.channels)),
      b_(ChannelValues(draws_, out_.layout.shape.channels)),
      c_(ChannelValues(draws_, out_.layout.shape.channels)),
      dy_(RandomActivations(stored_, draws_)) {
  keep_.resize(stored_.layout.floats());
  stored_.ForEach([&](int64_t i, int64_t, int) { keep_[i] = draws_.Chance(0.7); });
}

Epilogue Scenario::epilogue(Outputs& out) const {
  Epilogue epilogue;
  if (around_.bias) epilogue.bias = bias_.data();
  epilogue.pool = around_.pool;
  epilogue.slope = around_.slope;
  epilogue.stream = around_.stream;
  if (around_.dropout) {
    epilogue.keep = keep_.data();
    epilogue.keep_scale = keep_scale_;
  }
  if (around_.dropout || around_.pool) epilogue.codes = out.codes.data();
  if (around_.norm_after) {
    epilogue.mean = out.mean.data();
    epilogue.m2 = out.m2.data();
  }
  return epilogue;
}

GradientView Scenario::gradient(const Outputs& out) const {
  GradientView gradient;
  gradient.dy = dy_.data();
  gradient.stored = out.stored.data();
  gradient.view = after_.view(around_.norm_after, around_.slope_after);
  if (around_.norm_after) {
    gradient.a = a_.data();
    gradient.b = b_.data();
    gradient.c = c_.data();
  }
  gradient.pool = around_.pool;
  if (around_.dropout) gradient.keep_scale = keep_scale_;
  if (around_.dropout || around_.pool) gradient.codes = out.codes.data();
  return gradient;
}

void Scenario::Forward(const std::vector<float>& weights, const ThreadScratch& scratch,
                       Outputs& out) const {
  const ConvWay& core = convolution_.core();
  std::vector<float> packed(core.packed_floats(), kNan);
  core.Pack(weights.data(), packed.data());
  std::vector<float> chunk(convolution_.chunk_floats(), kNan);
  Convolution::ForwardCall call;
  call.chunk = chunk.data();
  call.x = x_.data();
  call.view = before_.view(around_.norm_before, around_.slope_before);
  call.packed = packed.empty() ? weights.data() : packed.data();
  call.epilogue = epilogue(out);
  OnLines stored(out.stored.begin(), out.stored.end());
  call.stored = stored.data();
  call.scratch = scratch;
  convolution_.Forward(call);
  std::copy(stored.begin(), stored.end(), out.stored.begin());
}

GradientEnd Scenario::end(Outputs& out) const {
  GradientEnd end;
  if (around_.relu_end) {
    end.stored = x_.data();
    end.slope = kEndSlope;
  }
  if (around_.norm_before) {
    end.sums[end.sums_count++] = {x_.data(), before_.view(true, around_.slope_before),
                                  out.norm_sum.data(), out.norm_dot.data()};
  }
  if (around_.two_sums) {
    end.sums[end.sums_count++] = {x_.data(), other_.view(true, 1), out.other_sum.data(),
                                  out.other_dot.data()};
  }
  return end;
}

void Scenario::Backward(const std::vector<float>& weights, const ThreadScratch& scratch,
                        Outputs& out) const {
  const ConvWay& core = convolution_.core();
  std::vector<float> packed(core.packed_floats(), kNan);
  std::vector<float> backward(core.packed_backward_floats(), kNan);
  core.Pack(weights.data(), packed.data());
  if (wants_dx()) core.PackBackward(weights.data(), packed.data(), backward.data());
  std::vector<float> group_sums(convolution_.group_floats(), kNan);
  const View view = before_.view(around_.norm_before, around_.slope_before);
  std::vector<float> chunk(convolution_.chunk_floats(), kNan);
  Convolution::BackwardCall call;
  call.x = x_.data();
  call.view = view;
  call.gradient = gradient(out);
  call.packed_backward = backward.data();
  OnLines dx(out.dx.begin(), out.dx.end());
  if (wants_dx()) call.dx = dx.data();
  call.write = around_.stream ? Write::kStream : Write::kStore;
  if (around_.accumulate) call.write = Write::kAdd;
  if (wants_dx() && !sparse()) {
    if (around_.more) call.more = {more_.data(), some_.layout, kSome};
    call.end = end(out);
  }
  call.group_sums = group_sums.data();
  call.chunk = chunk.data();
  call.dw = out.dw.data();
  if (around_.bias) call.db = out.db.data();
  call.scratch = scratch;
  convolution_.Backward(call);
  std::copy(dx.begin(), dx.end(), out.dx.begin());
}

// What nobody may read is NaN.
Outputs Scenario::Compute(int threads) const {
  const int threads_before = omp_get_max_threads();
  omp_set_num_threads(threads);
  const std::vector<float> weights = sample_.PackedWeights();
  const int batch = in_.layout.batch;
  Outputs out;
  out.stored.assign(stored_.layout.floats(), kNan);
  out.codes.assign(stored_.layout.floats(), 0xff);
  out.mean.assign(batch * out_.layout.channels(), kNan);
  out.m2 = out.mean;
  out.dx = around_.accumulate ? dx_before_ : std::vector<float>(dx_before_.size(), kNan);
  out.dw.assign(weights.size(), kNan);
  out.db.assign(out_.layout.channels(), kNan);
  out.norm_sum.assign(batch * in_.layout.channels(), kNan);
  out.norm_dot = out.other_sum = out.other_dot = out.norm_sum;

  const int64_t slot = convolution_.scratch_floats();
  const int64_t slots = std::min<int64_t>(threads, convolution_.items());
  std::vector<float> memory((slots + 1) * slot, kNan);  // and one that nobody may touch
  const ThreadScratch scratch{memory.data(), slot};
  const auto expect_untouched = [&] {
    EXPECT_TRUE(
        std::all_of(memory.end() - slot, memory.end(), [](float f) { return std::isnan(f); }))
        << threads << " threads, " << slots << " slots of scratch";
  };
  Forward(weights, scratch, out);
  expect_untouched();
  std::fill(memory.begin(), memory.end(), kNan);
  Backward(weights, scratch, out);
  expect_untouched();
  omp_set_num_threads(threads_before);
  return out;
}

void Scenario::CheckStored(const Outputs& found) const {
  const View view = before_.view(around_.norm_before, around_.slope_before);
  const ConvResults<double> conv =
      ConvInDouble(sample_.geometry(), ReadInDouble(in_, sample_.x(), view),
                   InDouble(sample_.weights()), std::vector<double>(sample_.dy().size()));
  std::vector<double> expected(stored_.layout.batch * stored_.layout.shape.size());
  stored_.ForEach([&](int64_t i, int64_t canonical, int c) {
    const Window window(stored_.layout, out_.layout, around_.pool, canonical);
    double largest = conv.y[window.At(0)];
    for (int p = 1; p < window.places; ++p) largest = std::max(largest, conv.y[window.At(p)]);
    const bool dropped = around_.dropout && keep_[i] == 0;
    const double scale = around_.dropout ? keep_scale_ : 1;
    const double y = PlainAct(largest + (around_.bias ? bias_[c] : 0), around_.slope);
    expected[canonical] = dropped ? 0 : scale * y;
    if (!around_.pool && !around_.dropout) return;
    ASSERT_EQ((found.codes[i] & kDropped) != 0, dropped) << "at " << i;
    ASSERT_NEAR(conv.y[window.At(found.codes[i] & kPlaceMask)], largest, 1e-4) << "at " << i;
  });
  EXPECT_LT(Distance(stored_.To(found.stored), expected), 1e-5);
  stored_.ExpectPaddingIsZero(found.stored);
  if (around_.norm_after) CheckMoments(stored_.layout, found);
}

// Of what the convolution put out, canonical.
std::vector<double> Scenario::GradientInDouble(const Outputs& found) const {
  const View view = after_.view(around_.norm_after, around_.slope_after);
  std::vector<double> gradient(sample_.dy().size());
  stored_.ForEach([&](int64_t i, int64_t canonical, int c) {
    double g = dy_[i];
    if (!(PlainArgument(view, c, found.stored[i]) > 0)) g *= view.slope;
    if (around_.norm_after) {
      g = a_[c] * (g - c_[c]) + b_[c] * (double{found.stored[i]} - after_.mean[c]);
    }
    const int code = around_.pool || around_.dropout ? found.codes[i] : 0;
    if (around_.dropout) g *= keep_scale_;
    if ((code & kDropped) != 0) g = 0;
    const Window window(stored_.layout, out_.layout, around_.pool, canonical);
    gradient[window.At(around_.pool ? code & kPlaceMask : 0)] = g;
  });
  return gradient;
}

void Scenario::CheckBackward(const Outputs& found) const {
  const View view = before_.view(around_.norm_before, around_.slope_before);
  const std::vector<double> gradient = GradientInDouble(found);
  ConvResults<double> conv = ConvInDouble(sample_.geometry(), ReadInDouble(in_, sample_.x(), view),
                                          InDouble(sample_.weights()), gradient);
  EXPECT_LT(Distance(sample_.Unpack(found.dw), conv.dw), 1e-5);
  if (around_.bias) {
    std::vector<double> db(out_.layout.channels());
    out_.ForEach([&](int64_t, int64_t i, int c) { db[c] += gradient[i]; });
    EXPECT_LT(Distance(found.db, db), 1e-5);
  }
  if (!wants_dx()) return;
  EXPECT_LT(Distance(gradient_.To(found.dx), DataGradientInDouble(conv.dx)), 1e-5);
  gradient_.ExpectPaddingIsZero(found.dx);
}

// What becomes of the convolution's own, canonical.
std::vector<double> Scenario::DataGradientInDouble(std::vector<double> dx) const {
  if (sparse()) {
    std::vector<double> read(gradient_.layout.batch * gradient_.layout.shape.size());
    double elsewhere = 0;
    for (double g : dx) elsewhere += std::abs(g);
    ForEachOfSome(gradient_.layout, in_.layout, convolution_.stride(),
                  [&](int64_t i, int64_t all) { elsewhere -= std::abs(read[i] = dx[all]); });
    EXPECT_LT(elsewhere, 1e-9 * static_cast<double>(dx.size()));
    dx = read;
  } else if (around_.more) {
    const std::vector<float> more = some_.To(more_);
    ForEachOfSome(some_.layout, in_.layout, kSome,
                  [&](int64_t i, int64_t all) { dx[all] += more[i]; });
  }
  gradient_.ForEach([&](int64_t i, int64_t canonical, int) {
    if (around_.accumulate) dx[canonical] += dx_before_[i];
    if (!sparse() && around_.relu_end && !(x_[i] > 0)) dx[canonical] *= kEndSlope;
  });
  return dx;
}

void Scenario::CheckNormSums(const Outputs& found) const {
  const auto check = [&](const Norm& norm, float slope, const std::vector<float>& found_sum,
                         const std::vector<float>& found_dot) {
    const View view = norm.view(true, slope);
    std::vector<double> sum(found_sum.size()), dot(found_dot.size());
    in_.ForEach([&](int64_t i, int64_t, int c) {
      const int64_t s = i / in_.layout.image() * in_.layout.channels() + c;
      const double g = found.dx[i] * (PlainArgument(view, c, x_[i]) > 0 ? 1.0 : slope);
      sum[s] += g;
      dot[s] += g * (double{x_[i]} - norm.mean[c]);
    });
    EXPECT_LT(Distance(found_sum, sum), 1e-5);
    EXPECT_LT(Distance(found_dot, dot), 1e-5);
  };
  if (around_.norm_before) check(before_, around_.slope_before, found.norm_sum, found.norm_dot);
  if (around_.two_sums) check(other_, 1, found.other_sum, found.other_dot);
}

void Scenario::Check(const Outputs& found) const {
  CheckStored(found);
  CheckBackward(found);
  if (wants_dx() && !sparse()) CheckNormSums(found);
}

}  // namespace trainyard::kernels::cpu::testing
