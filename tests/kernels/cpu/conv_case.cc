#include "tests/kernels/cpu/conv_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/parameter_layout.h"
#include "kernels/cpu/simd/layout.h"

namespace trainyard::kernels::cpu::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

int Draw(int low, int high, std::mt19937& random) {
  return std::uniform_int_distribution<int>(low, high)(random);
}

std::vector<float> Normal(int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

int OutputSize(int in, int before, int after, int kernel, int stride) {
  return (in + before + after - kernel) / stride + 1;
}

// Images in frames, of which `pixel(image, channel, y, x)` is a float.
struct Staged {
  ValueShape shape;
  Frame frame;
  bool planes = false;

  int channels() const { return planes ? shape.channels : Padded(shape.channels); }
  int64_t floats() const { return int64_t{frame.height} * frame.width * channels(); }
  int64_t Index(int image, int channel, int y, int x) const {
    y += frame.top, x += frame.left;
    return image * floats() + (planes ? (int64_t{channel} * frame.height + y) * frame.width + x
                                      : (int64_t{y} * frame.width + x) * channels() + channel);
  }
  // body(index in the frames, index in canonical images)
  template <typename Body>
  void ForEach(int images, const Body& body) const {
    int64_t canonical = 0;
    for (int n = 0; n < images; ++n) {
      for (int c = 0; c < shape.channels; ++c) {
        for (int y = 0; y < shape.height; ++y) {
          for (int x = 0; x < shape.width; ++x) body(Index(n, c, y, x), canonical++);
        }
      }
    }
  }
  std::vector<float> From(const float* canonical, int images) const {
    std::vector<float> staged(images * floats());
    ForEach(images, [&](int64_t to, int64_t from) { staged[to] = canonical[from]; });
    return staged;
  }
  void To(const std::vector<float>& staged, int images, float* canonical) const {
    ForEach(images, [&](int64_t from, int64_t to) { canonical[to] = staged[from]; });
    for (int n = 0; n < images && !planes; ++n) {
      for (int y = 0; y < shape.height; ++y) {
        for (int x = 0; x < shape.width; ++x) {
          for (int c = shape.channels; c < channels(); ++c) {
            ASSERT_EQ(staged[Index(n, c, y, x)], 0) << "padded channel " << c;
          }
        }
      }
    }
  }
};

// Weights as a way wants them.
class Packed {
 public:
  Packed(const ConvWay& way, const std::vector<float>& weights, bool wants_dx)
      : weights_(weights),
        packed_(way.packed_floats(), kNan),
        backward_(way.packed_backward_floats(), kNan) {
    way.Pack(weights_.data(), packed_.data());
    if (wants_dx) way.PackBackward(weights_.data(), forward(), backward_.data());
  }
  const float* forward() const { return packed_.empty() ? weights_.data() : packed_.data(); }
  const float* backward() const { return backward_.data(); }

 private:
  const std::vector<float>& weights_;
  std::vector<float> packed_, backward_;
};

ConvResults<float> Unwritten(const ConvSample& sample) {
  return {std::vector<float>(sample.dy().size(), kNan), std::vector<float>(sample.x().size(), kNan),
          std::vector<float>()};
}

std::vector<float> Finished(const ConvSample& sample, const ConvWay& way,
                            const std::vector<float>& sums) {
  std::vector<float> dw(sample.PackedWeights().size(), kNan);
  way.Finish(sums.data(), dw.data());
  return sample.Unpack(dw);
}

}  // namespace

ConvCase RandomConvCase(const ConvLimits& limits, std::mt19937& random) {
  ConvCase conv;
  Op& op = conv.op;
  const int groups = limits.groups;
  op.groups = groups;
  conv.plain_input = limits.plain_input;
  conv.in = {groups * Draw(1, limits.channels / groups, random), Draw(1, limits.size, random),
             Draw(1, limits.size, random)};
  conv.filters = groups * Draw(1, limits.filters / groups, random);
  conv.images = Draw(1, limits.images, random);
  do {
    op.kernel_h = Draw(1, limits.kernel, random), op.kernel_w = Draw(1, limits.kernel, random);
    op.stride_h = Draw(1, 3, random), op.stride_w = Draw(1, 3, random);
    if (limits.winograd) {
      op.kernel_h = op.kernel_w = 3;
      op.stride_h = op.stride_w = 1;
    }
    op.pad_top = Draw(0, 3, random), op.pad_bottom = Draw(0, 3, random);
    op.pad_left = Draw(0, 3, random), op.pad_right = Draw(0, 3, random);
  } while (conv.in.height + op.pad_top + op.pad_bottom < op.kernel_h ||
           conv.in.width + op.pad_left + op.pad_right < op.kernel_w);
  return conv;
}

ConvCase Case3x3(ValueShape in, int filters, int images) {
  ConvCase conv{.in = in, .filters = filters, .images = images};
  conv.op.kernel_h = conv.op.kernel_w = 3;
  conv.op.pad_top = conv.op.pad_bottom = conv.op.pad_left = conv.op.pad_right = 1;
  return conv;
}

ConvSample::ConvSample(const ConvCase& conv, uint32_t seed) {
  const ValueShape in = conv.in;
  Op op = conv.op;
  const ValueShape out{conv.filters,
                       OutputSize(in.height, op.pad_top, op.pad_bottom, op.kernel_h, op.stride_h),
                       OutputSize(in.width, op.pad_left, op.pad_right, op.kernel_w, op.stride_w)};
  op.kind = OpKind::kConv;
  op.name = "layers.1";
  op.offsets.weight = 0;
  graph_.values = {in};
  if (!conv.plain_input) {  // there is a layer before
    Op before;
    before.kind = OpKind::kRelu;
    before.inputs = {0};
    before.output = 1;
    graph_.ops.push_back(before);
    graph_.values.push_back(in);
  }
  op.inputs = {static_cast<int>(graph_.values.size()) - 1};
  op.output = static_cast<int>(graph_.values.size());
  graph_.values.push_back(out);
  graph_.ops.push_back(op);
  graph_.parameter_count =
      int64_t{out.channels} * (in.channels / op.groups) * op.kernel_h * op.kernel_w;
  graph_.slices = {{0, graph_.parameter_count, true}};
  geometry_ = {&graph_.ops.back(), in, out, conv.images, conv.plain_input};

  std::mt19937 random(seed);
  x_ = Normal(conv.images * in.size(), random);
  weights_ = Normal(graph_.parameter_count, random);
  dy_ = Normal(conv.images * out.size(), random);
}

std::vector<float> ConvSample::PackedWeights() const {
  const ParameterLayout layout(graph_);
  std::vector<float> packed(layout.parameter_floats());
  layout.PackParameters(weights_, packed.data());
  return packed;
}

std::vector<float> ConvSample::Unpack(const std::vector<float>& packed) const {
  const ParameterLayout layout(graph_);
  std::vector<float> canonical(weights_.size()), again(packed.size());
  layout.UnpackParameters(packed.data(), canonical);
  layout.PackParameters(canonical, again.data());
  EXPECT_EQ(std::memcmp(packed.data(), again.data(), packed.size() * sizeof(float)), 0)
      << "padding of weights is not zeros";
  return canonical;
}

ConvResults<double> ConvInDouble(const ConvGeometry& geometry, const std::vector<double>& x,
                                 const std::vector<double>& weights,
                                 const std::vector<double>& dy) {
  const Op& op = *geometry.op;
  const ValueShape &in = geometry.in, &out = geometry.out;
  const int inputs = in.channels / op.groups, outputs = out.channels / op.groups;
  ConvResults<double> results{std::vector<double>(dy.size()), std::vector<double>(x.size()),
                              std::vector<double>(weights.size())};
  int64_t to = 0;
  for (int n = 0; n < geometry.batch; ++n) {
    for (int o = 0; o < out.channels; ++o) {
      for (int pixel = 0; pixel < out.height * out.width; ++pixel, ++to) {
        const int top = pixel / out.width * op.stride_h - op.pad_top;
        const int left = pixel % out.width * op.stride_w - op.pad_left;
        for (int i = 0; i < inputs; ++i) {
          const int64_t plane = int64_t{n} * in.channels + o / outputs * inputs + i;
          for (int tap = 0; tap < op.kernel_h * op.kernel_w; ++tap) {
            const int row = top + tap / op.kernel_w, column = left + tap % op.kernel_w;
            if (row < 0 || row >= in.height || column < 0 || column >= in.width) continue;
            const int64_t from = (plane * in.height + row) * in.width + column;
            const int64_t w = (int64_t{o} * inputs + i) * op.kernel_h * op.kernel_w + tap;
            results.y[to] += x[from] * weights[w];
            results.dx[from] += dy[to] * weights[w];
            results.dw[w] += dy[to] * x[from];
          }
        }
      }
    }
  }
  return results;
}

ConvResults<double> Expected(const ConvSample& sample) {
  const auto in_double = [](const std::vector<float>& values) {
    return std::vector<double>(values.begin(), values.end());
  };
  return ConvInDouble(sample.geometry(), in_double(sample.x()), in_double(sample.weights()),
                      in_double(sample.dy()));
}

ConvResults<float> Computed(const ConvSample& sample, const ConvCore& core,
                            const std::vector<int>& packs, bool wants_dx) {
  const ConvGeometry& geometry = sample.geometry();
  const Staged in{geometry.in, core.input_frame(), geometry.plain_input};
  const Staged out{geometry.out, core.output_frame()};
  const std::vector<float> weights = sample.PackedWeights();
  const Packed packed(core, weights, wants_dx);
  std::vector<float> sums(core.sum_floats());
  ConvResults<float> results = Unwritten(sample);
  int64_t first = 0;
  for (int images : packs) {
    const int64_t x = first * geometry.in.size(), y = first * geometry.out.size();
    const std::vector<float> staged = in.From(sample.x().data() + x, images);
    std::vector<float> staged_out(images * out.floats(), kNan);
    std::vector<float> scratch(core.scratch_floats(), kNan);
    core.Forward(images, staged.data(), packed.forward(), scratch.data(), staged_out.data());
    out.To(staged_out, images, results.y.data() + y);

    const std::vector<float> staged_dy = out.From(sample.dy().data() + y, images);
    std::vector<float> staged_dx(staged.size(), wants_dx ? kNan : 0);
    scratch.assign(scratch.size(), kNan);
    core.Backward(images, staged.data(), staged_dy.data(), packed.backward(), scratch.data(),
                  wants_dx ? staged_dx.data() : nullptr, sums.data());
    in.To(staged_dx, images, results.dx.data() + x);
    first += images;
  }
  results.dw = Finished(sample, core, sums);
  return results;
}

ConvResults<float> Computed(const ConvSample& sample, const BatchCore& core,
                            const std::vector<int>& chunks) {
  const ConvGeometry& geometry = sample.geometry();
  const Staged in{geometry.in, core.input_frame()}, out{geometry.out, core.output_frame()};
  const std::vector<float> weights = sample.PackedWeights();
  const Packed packed(core, weights, true);
  std::vector<float> sums(core.sum_floats());
  ConvResults<float> results = Unwritten(sample);
  const float *x = sample.x().data(), *dy = sample.dy().data();
  float *y = results.y.data(), *dx = results.dx.data();
  for (int images : chunks) {
    std::vector<float> u(core.input_floats(), kNan), m(core.output_floats(), kNan);
    std::vector<float> z(core.output_floats(), kNan);
    for (int i = images; i-- > 0;) {
      core.LoadInput(i, in.From(x + i * geometry.in.size(), 1).data(), u.data());
      core.LoadGradient(i, out.From(dy + i * geometry.out.size(), 1).data(), z.data());
    }
    core.MultiplyForward(images, u.data(), packed.forward(), m.data());
    core.AddWeightGradient(images, u.data(), z.data(), sums.data());
    core.MultiplyBackward(images, z.data(), packed.backward(), u.data());
    for (int i = 0; i < images; ++i) {
      std::vector<float> staged_y(out.floats(), kNan), staged_dx(in.floats(), kNan);
      core.StoreOutput(i, m.data(), staged_y.data());
      out.To(staged_y, 1, y + i * geometry.out.size());
      core.StoreGradient(i, u.data(), staged_dx.data());
      in.To(staged_dx, 1, dx + i * geometry.in.size());
    }
    x += images * geometry.in.size(), dx += images * geometry.in.size();
    y += images * geometry.out.size(), dy += images * geometry.out.size();
  }
  results.dw = Finished(sample, core, sums);
  return results;
}

std::vector<int> RandomPacks(int images, int largest, std::mt19937& random) {
  std::vector<int> packs;
  while (images > 0) {
    packs.push_back(Draw(1, std::min(images, largest), random));
    images -= packs.back();
  }
  return packs;
}

double Distance(const std::vector<float>& found, const std::vector<double>& expected) {
  EXPECT_EQ(found.size(), expected.size());
  double error = 0, size = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    error += (found[i] - expected[i]) * (found[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return error == 0 ? 0 : std::sqrt(error / size);
}

void ExpectClose(const ConvResults<float>& found, const ConvResults<double>& expected,
                 bool wants_dx, double tolerance) {
  EXPECT_LT(Distance(found.y, expected.y), tolerance);
  EXPECT_LT(Distance(found.dw, expected.dw), tolerance);
  if (wants_dx) {
    EXPECT_LT(Distance(found.dx, expected.dx), tolerance);
  }
}

void ExpectSameBytes(const ConvResults<float>& a, const ConvResults<float>& b) {
  const auto same = [](const std::vector<float>& left, const std::vector<float>& right) {
    return left.size() == right.size() &&
           std::memcmp(left.data(), right.data(), left.size() * sizeof(float)) == 0;
  };
  EXPECT_TRUE(same(a.y, b.y));
  EXPECT_TRUE(same(a.dx, b.dx));
  EXPECT_TRUE(same(a.dw, b.dw));
}

}  // namespace trainyard::kernels::cpu::testing
