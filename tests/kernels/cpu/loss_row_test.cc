// The loss of a row is what plain loops in double say, with every instruction set.
#include "kernels/cpu/simd/loss_row.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/simd/layout.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

using LossRowTest = SimdTest;
TRAINYARD_FOR_SIMD_TARGETS(LossRowTest);

// A row with something larger than its logits in the padding.
struct Case {
  Case(int classes, float spread, double smoothing)
      : logits(Padded(classes), 1000.0f), gradient(logits.size(), kNaN) {
    std::mt19937 random(static_cast<uint32_t>(classes));
    std::normal_distribution<float> logit(0, spread);
    for (int k = 0; k < classes; ++k) logits[k] = logit(random);
    const double off = smoothing / classes;
    row = {classes,
           static_cast<int>(random() % classes),
           1 - smoothing + off,
           off,
           7,
           logits.data(),
           gradient.data()};
  }
  Case(const Case&) = delete;

  std::vector<float> logits, gradient;
  LossRow row;
};

TEST_P(LossRowTest, IsThatOfPlainLoops) {
  for (int classes : {1, 2, 7, 16, 17, 100, 1000}) {
    for (float spread : {0.01f, 1.0f, 300.0f}) {
      for (double smoothing : {0.0, 0.1}) {
        SCOPED_TRACE(std::to_string(classes) + " classes, spread " + std::to_string(spread));
        Case c(classes, spread, smoothing);
        const double largest = *std::max_element(c.logits.begin(), c.logits.begin() + classes);
        double sum = 0, loss = 0, error = 0, norm = 0;
        for (int k = 0; k < classes; ++k) sum += std::exp(c.logits[k] - largest);
        const RowLoss found = LossOfRow(c.row);
        for (int k = 0; k < classes; ++k) {
          const double target = k == c.row.label ? c.row.on : c.row.off;
          const double log_p = c.logits[k] - largest - std::log(sum);
          loss -= target * log_p;
          const double wanted = (std::exp(log_p) - target) / 7;
          error += std::pow(c.gradient[k] - wanted, 2);
          norm += wanted * wanted;
        }
        EXPECT_NEAR(found.loss, loss, 1e-12 * (1 + std::abs(loss)));
        EXPECT_LE(std::sqrt(error), 1e-7 * std::sqrt(norm) + 1e-12);
        const auto most = std::max_element(c.logits.begin(), c.logits.begin() + classes);
        EXPECT_EQ(found.correct, most - c.logits.begin() == c.row.label);
        for (int k = classes; k < Padded(classes); ++k) EXPECT_EQ(c.gradient[k], 0);
      }
    }
  }
}

TEST_P(LossRowTest, ALogitThatIsNotFiniteMakesAllOfItNan) {
  for (float bad : {kNaN, kInfinity, -kInfinity}) {
    Case c(20, 1, 0);
    c.logits[18] = bad;
    EXPECT_TRUE(std::isnan(LossOfRow(c.row).loss)) << bad;
    for (int k = 0; k < 32; ++k) EXPECT_EQ(std::isnan(c.gradient[k]), k < 20) << bad << " " << k;
  }
}

}  // namespace
}  // namespace trainyard::kernels::cpu
