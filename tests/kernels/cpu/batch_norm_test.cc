// From images' moments and sums to what a batch norm is read with, against plain sums over all
// pixels.
#include "kernels/cpu/simd/batch_norm.h"

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

using Floats = std::vector<float>;

struct Random {
  explicit Random(uint64_t seed) : engine(seed) {}
  float Normal(double mean, double deviation) {
    return static_cast<float>(std::normal_distribution<double>(mean, deviation)(engine));
  }
  std::mt19937_64 engine;
};

// A batch norm's arguments, drawn; padding holds NaN.
struct Case {
  Case(int batch, int channels, int64_t plane, uint64_t seed)
      : norm{batch, channels, plane, 0.9f, 1e-5f}, padded(Padded(channels)), random(seed) {
    gamma = ByChannel([&] { return random.Normal(1, 0.3); });
    beta = ByChannel([&] { return random.Normal(0, 1); });
    running_mean = ByChannel([&] { return random.Normal(0, 1); });
    running_var = ByChannel([&] { return std::abs(random.Normal(1, 0.3)); });
    for (Floats* f : {&mean, &scale, &shift, &inverse_std, &dgamma, &dbeta, &a, &b, &c}) {
      f->assign(static_cast<size_t>(padded), kNaN);
    }
  }

  template <typename Draw>
  Floats ByChannel(const Draw& draw) {
    Floats values(static_cast<size_t>(padded), kNaN);
    for (int k = 0; k < norm.channels; ++k) values[k] = draw();
    return values;
  }

  // Stored activations (batch, plane, channels), with a mean that varies by channel.
  Floats Activations() {
    Floats x;
    for (int64_t i = 0; i < norm.batch * norm.plane; ++i) {
      for (int k = 0; k < norm.channels; ++k) x.push_back(random.Normal(k, 1 + 0.1 * k));
    }
    return x;
  }

  BatchNormParameters parameters() {
    return {gamma.data(), beta.data(), running_mean.data(), running_var.data()};
  }
  BatchNormView view() { return {mean.data(), scale.data(), shift.data(), inverse_std.data()}; }

  const BatchNorm norm;
  const int padded;
  Random random;
  Floats gamma, beta, running_mean, running_var;
  Floats mean, scale, shift, inverse_std, dgamma, dbeta, a, b, c;
};

// body(block) for every block of channels.
template <typename Body>
void ForBlocks(const Case& c, const Body& body) {
  for (int64_t block = 0; block < c.padded / kBlock; ++block) body(block);
}

// By image and channel, from (batch, plane, channels).
template <typename Of>
Floats ByImage(const Case& c, const Floats& x, const Of& of) {
  Floats result(static_cast<size_t>(c.norm.batch) * c.padded, kNaN);
  for (int n = 0; n < c.norm.batch; ++n) {
    for (int k = 0; k < c.norm.channels; ++k) {
      std::vector<double> values;
      for (int64_t p = 0; p < c.norm.plane; ++p) {
        values.push_back(x[(n * c.norm.plane + p) * c.norm.channels + k]);
      }
      result[static_cast<size_t>(n) * c.padded + k] = static_cast<float>(of(values, n, k));
    }
  }
  return result;
}

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

double SquaredDeviations(const std::vector<double>& values, double mean) {
  double sum = 0;
  for (double v : values) sum += (v - mean) * (v - mean);
  return sum;
}

// Relative L2 over the channels, and zeros in the padding.
void ExpectNear(const Case& c, const Floats& found, const std::vector<double>& expected,
                const char* what) {
  double error = 0, norm = 0;
  for (int k = 0; k < c.padded; ++k) {
    if (k >= c.norm.channels) {
      ASSERT_EQ(found[k], 0) << what << ", padding";
      continue;
    }
    error += std::pow(found[k] - expected[k], 2);
    norm += expected[k] * expected[k];
  }
  EXPECT_LE(std::sqrt(error), 1e-6 * std::sqrt(norm)) << what;
}

// For the least and odd shapes, and for random ones.
template <typename Body>
void ForCases(const Body& body) {
  uint32_t seed = 0;
  const auto run = [&](int batch, int channels, int64_t plane) {
    SCOPED_TRACE(std::to_string(channels) + " channels, batch " + std::to_string(batch) +
                 ", plane " + std::to_string(plane));
    Case c(batch, channels, plane, ++seed);
    body(c);
  };
  for (int channels : {1, 8, 16, 19, 64}) {
    for (int batch : {1, 2, 33}) {
      for (int64_t plane : {1, 12}) run(batch, channels, plane);
    }
  }
  std::mt19937 random(7);
  const auto draw = [&](int most) { return std::uniform_int_distribution<int>(1, most)(random); };
  for (int round = 0; round < 20; ++round) run(draw(20), draw(70), draw(60));
}

class BatchNormOnTarget : public SimdTest {};
TRAINYARD_FOR_SIMD_TARGETS(BatchNormOnTarget);

TEST_P(BatchNormOnTarget, TrainingTakesTheBatchsMomentsAndUpdatesTheRunningOnes) {
  ForCases([](Case& c) {
    const Floats x = c.Activations();
    const Floats means =
        ByImage(c, x, [](const std::vector<double>& v, int, int) { return Mean(v); });
    const Floats m2s = ByImage(c, x, [&](const std::vector<double>& v, int n, int k) {
      return SquaredDeviations(v, means[static_cast<size_t>(n) * c.padded + k]);
    });
    std::vector<double> mean, scale, shift, inverse_std, running_mean, running_var;
    for (int k = 0; k < c.norm.channels; ++k) {
      std::vector<double> values;
      for (size_t i = k; i < x.size(); i += c.norm.channels) values.push_back(x[i]);
      const double count = static_cast<double>(values.size());
      mean.push_back(Mean(values));
      const double squares = SquaredDeviations(values, mean[k]);
      inverse_std.push_back(1 / std::sqrt(squares / count + c.norm.epsilon));
      scale.push_back(c.gamma[k] * inverse_std[k]);
      shift.push_back(c.beta[k]);
      const double momentum = c.norm.momentum, unbiased = squares / std::max(1.0, count - 1);
      running_mean.push_back(momentum * c.running_mean[k] + (1 - momentum) * mean[k]);
      running_var.push_back(momentum * c.running_var[k] + (1 - momentum) * unbiased);
    }
    ForBlocks(c, [&](int64_t block) {
      BatchNormTraining(c.norm, means.data(), m2s.data(), c.parameters(), c.view(), block);
    });
    ExpectNear(c, c.mean, mean, "mean");
    ExpectNear(c, c.running_mean, running_mean, "running mean");
    ExpectNear(c, c.running_var, running_var, "running variance");
    // One value has no deviation, so what its mean's rounding leaves is all there is.
    if (c.norm.batch * c.norm.plane == 1) return;
    ExpectNear(c, c.inverse_std, inverse_std, "inverse deviation");
    ExpectNear(c, c.scale, scale, "scale");
    // As it is read: the rounded mean's error is in the shift.
    std::vector<double> zero_at_mean;
    Floats found(static_cast<size_t>(c.padded), 0.0f);
    for (int k = 0; k < c.norm.channels; ++k) {
      zero_at_mean.push_back(c.beta[k]);
      found[k] = static_cast<float>((mean[k] - c.mean[k]) * c.scale[k] + c.shift[k]);
    }
    ExpectNear(c, found, zero_at_mean, "y of the mean");
  });
}

TEST(BatchNorm, AMeanFarFromZeroKeepsItsRoundingInTheShift) {
  // The mean of two images lies between two floats.
  Case two(2, 1, 1, 1);
  two.gamma[0] = 1;
  two.beta[0] = 0;
  const float low = 16777216, high = 16777218;  // 2^24 + 1 is no float
  Floats means(32, 0.0f), m2s(32, 0.0f);
  means[0] = low;
  means[16] = high;
  BatchNormTraining(two.norm, means.data(), m2s.data(), two.parameters(), two.view(), 0);
  const double y_low = (double{low} - two.mean[0]) * two.scale[0] + two.shift[0];
  const double y_high = (double{high} - two.mean[0]) * two.scale[0] + two.shift[0];
  EXPECT_NEAR(y_low, -1, 1e-5);
  EXPECT_NEAR(y_high, 1, 1e-5);
}

TEST_P(BatchNormOnTarget, EvaluationReadsTheRunningStatistics) {
  ForCases([](Case& c) {
    std::vector<double> mean, scale, shift;
    for (int k = 0; k < c.norm.channels; ++k) {
      mean.push_back(c.running_mean[k]);
      scale.push_back(c.gamma[k] / std::sqrt(double{c.running_var[k]} + c.norm.epsilon));
      shift.push_back(c.beta[k]);
    }
    ForBlocks(c,
              [&](int64_t block) { BatchNormEvaluation(c.norm, c.parameters(), c.view(), block); });
    ExpectNear(c, c.mean, mean, "mean");
    ExpectNear(c, c.scale, scale, "scale");
    ExpectNear(c, c.shift, shift, "shift");
  });
}

TEST_P(BatchNormOnTarget, BackwardGivesTheGradientOfTheWholeBatch) {
  ForCases([](Case& c) {
    const Floats x = c.Activations(), dy = c.Activations();
    c.mean = c.ByChannel([&] { return c.random.Normal(0, 1); });
    c.inverse_std = c.ByChannel([&] { return std::abs(c.random.Normal(1, 0.3)); });
    const int channels = c.norm.channels;
    const double count = static_cast<double>(c.norm.batch) * static_cast<double>(c.norm.plane);
    Floats products = dy;
    for (size_t i = 0; i < x.size(); ++i) products[i] *= x[i] - c.mean[i % channels];
    const auto sum_of = [](const std::vector<double>& v, int, int) {
      return Mean(v) * static_cast<double>(v.size());
    };
    const Floats sums = ByImage(c, dy, sum_of), dots = ByImage(c, products, sum_of);
    std::vector<double> dgamma, dbeta, a, b, third;
    for (int k = 0; k < channels; ++k) {
      double sum = 0, dot = 0;
      for (size_t i = k; i < x.size(); i += channels) {
        sum += dy[i];
        dot += products[i];
      }
      const double inverse_std = c.inverse_std[k], scale = c.gamma[k] * inverse_std;
      // dx = scale * (dy - mean(dy) - x^ * mean(dy * x^)), with x^ = (x - mean) * inverse_std
      dgamma.push_back(dot * inverse_std);
      dbeta.push_back(sum);
      a.push_back(scale);
      b.push_back(-scale * inverse_std * inverse_std * dot / count);
      third.push_back(sum / count);
    }
    const BatchNormGradient gradient{sums.data(),          dots.data(),     c.gamma.data(),
                                     c.inverse_std.data(), c.dgamma.data(), c.dbeta.data(),
                                     c.a.data(),           c.b.data(),      c.c.data()};
    ForBlocks(c, [&](int64_t block) { BatchNormBackward(c.norm, gradient, block); });
    ExpectNear(c, c.dgamma, dgamma, "dgamma");
    ExpectNear(c, c.dbeta, dbeta, "dbeta");
    ExpectNear(c, c.a, a, "a");
    ExpectNear(c, c.b, b, "b");
    ExpectNear(c, c.c, third, "c");
  });
}

}  // namespace
}  // namespace trainyard::kernels::cpu
