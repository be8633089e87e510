#include "kernels/cpu/simd/depthwise.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/kernels/cpu/simd_checks.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu {
namespace {

using DepthwiseTest = SimdTest;
TRAINYARD_FOR_SIMD_TARGETS(DepthwiseTest);

constexpr double kRounding = 1e-6;

struct DepthwiseCase {
  Depthwise conv;
  int in_h = 0;
  std::vector<float> in, weights, dy;

  explicit DepthwiseCase(Draws& draws) {
    conv.channels = 16 * draws.Int(1, 4);
    conv.out_h = draws.Int(1, 8);
    conv.out_w = draws.Int(1, 40);
    conv.kernel_h = draws.Int(1, 5);
    conv.kernel_w = draws.Int(1, 5);
    conv.stride_h = draws.Int(1, 3);
    conv.stride_w = draws.Int(1, 3);
    in_h = (conv.out_h - 1) * conv.stride_h + conv.kernel_h + draws.Int(0, 2);
    conv.in_w = (conv.out_w - 1) * conv.stride_w + conv.kernel_w + draws.Int(0, 2);
    in = draws.Normals(int64_t{in_h} * conv.in_w * conv.channels);
    weights = draws.Normals(int64_t{conv.kernel_h} * conv.kernel_w * conv.channels);
    dy = draws.Normals(int64_t{conv.out_h} * conv.out_w * conv.channels);
  }

  // Calls f(float of the input, of the weights, of the output) for each product.
  template <class F>
  void ForEachProduct(F f) const {
    const int taps = conv.kernel_h * conv.kernel_w;
    for (int64_t to = 0; to < static_cast<int64_t>(dy.size()); ++to) {
      const int64_t pixel = to / conv.channels, c = to % conv.channels;
      for (int tap = 0; tap < taps; ++tap) {
        const int64_t y = pixel / conv.out_w * conv.stride_h + tap / conv.kernel_w;
        const int64_t x = pixel % conv.out_w * conv.stride_w + tap % conv.kernel_w;
        f((y * conv.in_w + x) * conv.channels + c, tap * conv.channels + c, to);
      }
    }
  }
};

TEST_P(DepthwiseTest, IsTheConvolutionOfEachChannelAndItsGradients) {
  Draws draws(1);
  for (int i = 0; i < 40; ++i) {
    const DepthwiseCase d(draws);
    Bordered<float> out(static_cast<int64_t>(d.dy.size()));
    Bordered<float> dx(draws.Normals(static_cast<int64_t>(d.in.size())));
    Bordered<float> sums(draws.Normals(static_cast<int64_t>(d.weights.size())));
    std::vector<double> expected(d.dy.size());
    std::vector<double> expected_dx(dx.data(), dx.data() + dx.size());
    std::vector<double> expected_sums(sums.data(), sums.data() + sums.size());
    d.ForEachProduct([&](int64_t from, int64_t weight, int64_t to) {
      const double x = double{d.in[from]}, w = double{d.weights[weight]}, dy = double{d.dy[to]};
      expected[to] += x * w;
      expected_dx[from] += dy * w;
      expected_sums[weight] += dy * x;
    });
    DepthwiseForward(d.conv, d.in.data(), d.weights.data(), out.data());
    DepthwiseData(d.conv, d.dy.data(), d.weights.data(), dx.data());
    DepthwiseWeights(d.conv, d.in.data(), d.dy.data(), sums.data());
    ExpectClose(out, expected, kRounding, "out");
    ExpectClose(dx, expected_dx, kRounding, "dx");
    ExpectClose(sums, expected_sums, kRounding, "sums");
    EXPECT_TRUE(out.BordersIntact() && dx.BordersIntact() && sums.BordersIntact());
  }
}

}  // namespace
}  // namespace trainyard::kernels::cpu
