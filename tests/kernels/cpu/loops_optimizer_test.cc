#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/cpu/simd/loops.h"
#include "tests/kernels/cpu/simd_checks.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu {
namespace {

using OptimizerTest = SimdTest;
TRAINYARD_FOR_SIMD_TARGETS(OptimizerTest);

constexpr double kRounding = 1e-6;

TEST_P(OptimizerTest, SquaresAreSummedInDouble) {
  Draws draws(1);
  for (int count = 0; count < 100; ++count) {
    std::vector<float> x = draws.Normals(count);
    double expected = 0;
    for (float& v : x) {
      v *= 1e25f;  // whose square no float holds
      expected += double{v} * double{v};
    }
    EXPECT_NEAR(SquareSum(count, x.data()), expected, 1e-14 * expected);
  }
  const std::vector<float> infinite{1, HUGE_VALF, 2};
  EXPECT_EQ(SquareSum(3, infinite.data()), HUGE_VAL);
}

// The order is fixed, so that targets without fused multiply-add have these bytes too.
TEST_P(OptimizerTest, SumOfSquaresHasTheSameBytesEverywhere) {
  Draws draws(2);
  const std::vector<float> x = draws.Normals(1003);
  const double found = SquareSum(1003, x.data());
  UseSimdTarget("");
  EXPECT_EQ(found, SquareSum(1003, x.data()));
}

struct Parameters {
  std::vector<float> g, w, m, v;

  Parameters(Draws& draws, int count)
      : g(draws.Normals(count)),
        w(draws.Normals(count)),
        m(draws.Normals(count)),
        v(draws.Normals(count)) {
    for (float& x : v) x = std::abs(x);
  }
};

TEST_P(OptimizerTest, SgdIsItsDefinition) {
  Draws draws(3);
  for (int count = 0; count < 100; ++count) {
    const Parameters p(draws, count);
    const Sgd step{0.1f, 0.9f, 0.01f, 0.5f, count % 2 == 1};
    const double rate = double{step.learning_rate}, momentum = double{step.momentum};
    std::vector<double> w(count), m(count);
    for (int i = 0; i < count; ++i) {
      const double decayed =
          double{p.g[i]} * double{step.clip} + double{step.decay} * double{p.w[i]};
      m[i] = momentum * double{p.m[i]} + decayed;
      w[i] = double{p.w[i]} - rate * (step.nesterov ? decayed + momentum * m[i] : m[i]);
    }
    Bordered<float> found_w(p.w), found_m(p.m);
    EXPECT_EQ(UpdateSgd(step, count, p.g.data(), found_w.data(), found_m.data()), 0);
    ExpectClose(found_w, w, kRounding, "w");
    ExpectClose(found_m, m, kRounding, "m");
    EXPECT_TRUE(found_w.BordersIntact() && found_m.BordersIntact());
  }
}

constexpr AdamW kAdamW{0.01f, 0.9f, 0.999f, 1e-3f, 0.02f, 0.5f, 1.5f, 2.5f};

TEST_P(OptimizerTest, AdamWIsItsDefinition) {
  Draws draws(4);
  const AdamW& s = kAdamW;
  const double beta1 = double{s.beta1}, beta2 = double{s.beta2};
  for (int count = 0; count < 100; ++count) {
    const Parameters p(draws, count);
    std::vector<double> w(count), m(count), v(count);
    for (int i = 0; i < count; ++i) {
      const double g = double{p.g[i]} * double{s.clip};
      m[i] = beta1 * double{p.m[i]} + (1 - beta1) * g;
      v[i] = beta2 * double{p.v[i]} + (1 - beta2) * g * g;
      const double root = std::sqrt(v[i] * double{s.correction2}) + double{s.epsilon};
      w[i] = double{p.w[i]} - double{s.learning_rate} * (m[i] * double{s.correction1} / root +
                                                         double{s.decay} * double{p.w[i]});
    }
    Bordered<float> found_w(p.w), found_m(p.m), found_v(p.v);
    EXPECT_EQ(UpdateAdamW(s, count, p.g.data(), found_w.data(), found_m.data(), found_v.data()), 0);
    ExpectClose(found_w, w, kRounding, "w");
    ExpectClose(found_m, m, kRounding, "m");
    ExpectClose(found_v, v, kRounding, "v");
    EXPECT_TRUE(found_w.BordersIntact() && found_m.BordersIntact() && found_v.BordersIntact());
  }
}

TEST_P(OptimizerTest, TellsWhereverAWeightIsNotFinite) {
  Draws draws(5);
  constexpr int kCount = 37;
  for (int i = 0; i < kCount; ++i) {
    for (float bad : {std::nanf(""), HUGE_VALF}) {
      Parameters p(draws, kCount);
      p.w[i] = bad;
      Parameters q = p;
      const Sgd sgd{0.1f, 0.9f, 0, 1, false};
      EXPECT_NE(UpdateSgd(sgd, kCount, p.g.data(), p.w.data(), p.m.data()), 0);
      EXPECT_NE(UpdateAdamW(kAdamW, kCount, q.g.data(), q.w.data(), q.m.data(), q.v.data()), 0);
    }
  }
}

// Padding of parameters is zeros, with gradients that are zeros.
TEST_P(OptimizerTest, ZerosStayZeros) {
  const std::vector<float> g(16);
  std::vector<float> w(16), m(16), v(16);
  UpdateSgd({0.1f, 0.9f, 0.1f, 1, true}, 16, g.data(), w.data(), m.data());
  UpdateAdamW(kAdamW, 16, g.data(), w.data(), m.data(), v.data());
  for (const auto* x : {&w, &m, &v}) EXPECT_EQ(*x, g);
}

std::vector<float> EverythingUpdated() {
  Draws draws(6);
  constexpr int kCount = 997;
  Parameters p(draws, kCount), q(draws, kCount);
  UpdateSgd({0.1f, 0.9f, 0.01f, 0.7f, true}, kCount, p.g.data(), p.w.data(), p.m.data());
  UpdateAdamW(kAdamW, kCount, q.g.data(), q.w.data(), q.m.data(), q.v.data());
  std::vector<float> all;
  for (const auto* x : {&p.w, &p.m, &q.w, &q.m, &q.v}) all.insert(all.end(), x->begin(), x->end());
  return all;
}

TEST(OptimizerSameBytesTest, AreTheSameWithAvx3AndAvx2) {
  ExpectSameBytesOnAvx3AndAvx2(EverythingUpdated);
}

}  // namespace
}  // namespace trainyard::kernels::cpu
