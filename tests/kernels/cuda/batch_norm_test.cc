// Batch normalisation gives what float64 loops give, in statistics with large means too, for every
// channel count; and those loops' gradients are those of finite differences.
#include "tests/kernels/cuda/cases/batch_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/kernels/cuda/support/refusal.h"

namespace trainyard::kernels::cuda::testing {
namespace {

constexpr Activation kOff{}, kRelu{true, 0}, kLeaky{true, 0.125f};

template <typename T>
class BatchNorm : public ::testing::Test {};
using Types = ::testing::Types<float, bf16>;
TYPED_TEST_SUITE(BatchNorm, Types);

// Coprime to the vectors' sizes: every remainder comes. The tests begin at other channel counts.
constexpr int kChannelStep = kSmallShapes ? 34 : 3;

int64_t AnyRows(Draw& draw) { return draw.OneOf({1, 2, 3, 127, draw.Between(4, 300)}); }

// Several pieces, tiles, a rest of rows that do not fill a vector.
std::vector<BatchNormShape> LargeShapes() {
  if (kSmallShapes) return {{300, 31}, {40, 65}};
  return {{9001, 1}, {4099, 3}, {3001, 16}, {1023, 70}, {1000, 128}, {301, 257}, {2, 1030}};
}

ApplyOptions AnyApply(Draw& draw) {
  ApplyOptions options{.activation = draw.OneOf({kOff, kRelu, kLeaky}),
                       .residual = draw.Chance(50)};
  if (draw.Chance(30)) options.y = ApplyOptions::kIsX;
  if (options.residual && draw.Chance(30)) options.y = ApplyOptions::kIsResidual;
  return options;
}

BackwardOptions AnyBackward(Draw& draw) {
  BackwardOptions options{.activation = draw.OneOf({kOff, kRelu, kLeaky}),
                          .accumulate = draw.Chance(50),
                          .residual = draw.Chance(50),
                          .accumulate_residual = draw.Chance(50)};
  if (draw.Chance(30)) options.is_dy = BackwardOptions::kDx;
  if (options.residual && draw.Chance(30)) options.is_dy = BackwardOptions::kDresidual;
  return options;
}

TYPED_TEST(BatchNorm, StatisticsOfEveryChannelCount) {
  Draw draw(1);
  for (int channels = 1; channels <= 70; channels += kChannelStep) {
    const BatchNormShape shape{AnyRows(draw), channels};
    const float momentum = draw.OneOf({0.f, 0.9f, 1.f});
    EXPECT_EQ(
        Problem(BatchNormStatisticsCase<TypeParam>(shape, Spread{0.5f, 2}, momentum, channels)),
        "");
  }
}

TYPED_TEST(BatchNorm, StatisticsOfManyRowsOrChannels) {
  for (const BatchNormShape& shape : LargeShapes()) {
    EXPECT_EQ(Problem(BatchNormStatisticsCase<TypeParam>(shape, Spread{}, 0.9f, 2)), "");
  }
}

TYPED_TEST(BatchNorm, StatisticsKeepTheirDigitsBesideLargeMeans) {
  for (const BatchNormShape& shape : LargeShapes()) {
    EXPECT_EQ(Problem(BatchNormStatisticsCase<TypeParam>(shape, Spread{100, 1}, 0.5f, 3)), "");
  }
  for (const Spread spread : {Spread{-1000, 1}, Spread{1e4f, 30}, Spread{1e-3f, 1e-4f}}) {
    EXPECT_EQ(Problem(BatchNormStatisticsCase<TypeParam>({301, 12}, spread, 0.5f, 3)), "");
  }
}

TYPED_TEST(BatchNorm, AppliedToEveryChannelCount) {
  Draw draw(4);
  for (int channels = 3; channels <= 70; channels += kChannelStep) {
    const BatchNormShape shape{AnyRows(draw), channels};
    EXPECT_EQ(Problem(BatchNormApplyCase<TypeParam>(shape, AnyApply(draw), channels)), "");
  }
  for (const BatchNormShape& shape : LargeShapes()) {
    EXPECT_EQ(Problem(BatchNormApplyCase<TypeParam>(shape, AnyApply(draw), 5)), "");
  }
}

TYPED_TEST(BatchNorm, AppliedWithAndWithoutResidualInPlace) {
  const BatchNormShape shape{kSmallShapes ? 33 : 301, kSmallShapes ? 6 : 20};
  for (const Activation activation : {kOff, kRelu, kLeaky}) {
    using Options = ApplyOptions;
    for (const Options& options : {Options{activation, false, Options::kApart, {}},
                                   Options{activation, false, Options::kIsX, {}},
                                   Options{activation, true, Options::kApart, {100, 1}},
                                   Options{activation, true, Options::kIsX, {}},
                                   Options{activation, true, Options::kIsResidual, {}}}) {
      EXPECT_EQ(Problem(BatchNormApplyCase<TypeParam>(shape, options, 6)), "");
    }
  }
}

TYPED_TEST(BatchNorm, BackwardOfEveryChannelCount) {
  Draw draw(7);
  for (int channels = 2; channels <= 70; channels += kChannelStep) {
    // Three rows and less leave next to no gradient but epsilon's.
    const int64_t rows = draw.OneOf({5, 32, 127, draw.Between(6, 300)});
    EXPECT_EQ(
        Problem(BatchNormBackwardCase<TypeParam>({rows, channels}, AnyBackward(draw), channels)),
        "");
  }
}

TYPED_TEST(BatchNorm, BackwardOfManyRowsOrChannels) {
  Draw draw(8);
  for (const BatchNormShape& shape : LargeShapes()) {
    BackwardOptions options = AnyBackward(draw);
    options.accumulate = options.accumulate || shape.rows < 4;
    EXPECT_EQ(Problem(BatchNormBackwardCase<TypeParam>(shape, options, 9)), "");
  }
}

TYPED_TEST(BatchNorm, BackwardOfOneRowIsZero) {
  for (const int channels : {1, 12, 67}) {
    EXPECT_EQ(Problem(BatchNormBackwardCase<TypeParam>({1, channels}, {.activation = kLeaky}, 10)),
              "");
  }
}

TYPED_TEST(BatchNorm, EveryKindOfBackward) {
  const BatchNormShape shape{kSmallShapes ? 33 : 200, kSmallShapes ? 6 : 20};
  const std::vector<Activation> activations =
      kSmallShapes ? std::vector<Activation>{kLeaky} : std::vector<Activation>{kOff, kRelu, kLeaky};
  for (const Activation activation : activations) {
    for (int flags = 0; flags < 8; ++flags) {
      BackwardOptions options{activation, (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0};
      options.spread = {30, 1};
      if (!options.residual && options.accumulate_residual) continue;
      for (const auto is_dy :
           {BackwardOptions::kNothing, BackwardOptions::kDx, BackwardOptions::kDresidual}) {
        options.is_dy = is_dy;
        if (is_dy == BackwardOptions::kDresidual && !options.residual) continue;
        EXPECT_EQ(Problem(BatchNormBackwardCase<TypeParam>(shape, options, 11)), "")
            << "flags " << flags << ", dy is " << is_dy;
      }
    }
  }
}

// More rows than the most pieces of the least size: threads walk down longer ones. One run.
TEST(BatchNormNumbers, PiecesGrowWithTheRows) {
  if (kSmallShapes) GTEST_SKIP() << "too large for the race detector";
  const BatchNormShape shape{1056 * 4 * 128 + 777, 8};
  EXPECT_LE(Error(BatchNormStatisticsCase<float>(shape, Spread{100, 1}, 0.9f, 12)), kToleranceFp32);
}

// A first row far off the others is what sums of distances from it like least.
TEST(BatchNormNumbers, OutliersInTheFirstRow) {
  for (const BatchNormShape& shape : LargeShapes()) {
    std::vector<float> x = Draw(14).Normal(shape.rows * shape.channels, 100);
    for (int c = 0; c < shape.channels; ++c) x[c] = 0;
    EXPECT_EQ(Problem(BatchNormStatisticsCase<float>(shape, x, 0.9f, 15)), "");
  }
}

TEST(BatchNormNumbers, EqualValuesHaveNoVariance) {
  const BatchNormShape shape{777, 3};
  const std::vector<float> x(shape.rows * shape.channels, 0.1f);
  EXPECT_EQ(Problem(BatchNormStatisticsCase<float>(shape, x, 0.9f, 16)), "");
}

TEST(BatchNormNumbers, FromRunningStatistics) {
  for (const int channels : {1, 64, 257}) {
    EXPECT_EQ(Problem(BatchNormFromRunningCase(channels, channels)), "");
  }
}

template <typename T>
bool NanFrom(const std::vector<T>& values, int column, int columns) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(ToFloat(values[i])) != (static_cast<int>(i) % columns == column)) return false;
  }
  return true;
}

TYPED_TEST(BatchNorm, OneNanShowsInAllOfItsChannelAndNoOther) {
  for (const auto& [rows, row] :
       std::vector<std::pair<int, int>>{{101, 0}, {101, 50}, {101, 100}, {1, 0}}) {
    const BatchNormShape shape{rows, 6};
    const int64_t count = rows * 6;
    std::vector<float> values = Draw(17).Normal(count);
    values[row * 6 + 4] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> ones(shape.channels, 1);
    const Shared<TypeParam> x = Upload(Round<TypeParam>(values)), y = Allocate<TypeParam>(count);
    const Shared<TypeParam> dy = Upload(Round<TypeParam>(std::vector<float>(count, 1)));
    const Shared<TypeParam> dx = Allocate<TypeParam>(count);
    const Shared<float> gamma = Upload(ones), saved = Allocate<float>(12), mean = Upload(ones);
    const Shared<float> variance = Upload(ones), dgamma = Upload(ones), dbeta = Upload(ones);
    const Shared<float> workspace = Allocate<float>(BatchNormWorkspace(shape));
    BatchNormStatistics(shape, x->data(), 0.9f, 1e-3f, workspace->data(), saved->data(),
                        mean->data(), variance->data(), nullptr);
    BatchNormApply<TypeParam>(shape, x->data(), saved->data(), gamma->data(), gamma->data(),
                              nullptr, kRelu, y->data(), nullptr);
    BatchNormBackward<TypeParam>(shape, x->data(), y->data(), dy->data(), saved->data(),
                                 gamma->data(), kRelu, workspace->data(),
                                 {dgamma->data(), dbeta->data(), dx->data()}, nullptr);
    EXPECT_TRUE(NanFrom(saved->Read(), 4, 6));
    EXPECT_TRUE(NanFrom(mean->Read(), 4, 6) && NanFrom(variance->Read(), 4, 6));
    EXPECT_TRUE(NanFrom(y->Read(), 4, 6));
    EXPECT_TRUE(NanFrom(dx->Read(), 4, 6));
  }
}

// The loss is sum of weight * y; the oracle itself against central differences.
TEST(BatchNormOracle, GradientsAreThoseOfFiniteDifferences) {
  const BatchNormShape shape{11, 3};
  const int64_t count = shape.rows * shape.channels;
  Draw draw(18);
  std::vector<double> x = Widen(draw.Normal(count, 2)), residual = Widen(draw.Normal(count));
  std::vector<double> gamma{1.5, -0.75, 0}, beta = Widen(draw.Normal(3));
  const std::vector<double> weight = Widen(draw.Normal(count));
  const auto output = [&] {
    const BatchMoments moments = MomentsOf(shape, x, 0.1);
    return Normalised(shape, x, moments.mean, moments.inverse_std, gamma, beta, residual, kLeaky);
  };
  const auto slope_at = [&](double& value) {
    constexpr double kStep = 1e-6;
    const double at = value;
    double loss[2] = {};
    for (int side : {0, 1}) {
      value = at + (side == 1 ? kStep : -kStep);
      const std::vector<double> y = output();
      for (int64_t i = 0; i < count; ++i) loss[side] += weight[i] * y[i];
    }
    value = at;
    return (loss[1] - loss[0]) / (2 * kStep);
  };
  const BatchMoments moments = MomentsOf(shape, x, 0.1);
  const BatchGradients gradients =
      GradientsOf(shape, x, output(), weight, moments.mean, moments.inverse_std, gamma, kLeaky);
  for (int64_t i = 0; i < count; ++i) {
    EXPECT_NEAR(gradients.dx[i], slope_at(x[i]), 1e-7);
    EXPECT_NEAR(gradients.dz[i], slope_at(residual[i]), 1e-7);
  }
  for (int c = 0; c < shape.channels; ++c) {
    EXPECT_NEAR(gradients.dgamma[c], slope_at(gamma[c]), 1e-7);
    EXPECT_NEAR(gradients.dbeta[c], slope_at(beta[c]), 1e-7);
  }
}

TEST(BatchNormRefusals, SayWhatWasFound) {
  const Shared<float> array = Allocate<float>(64), other = Allocate<float>(64);
  float *const a = array->data(), *const off = a + 1;
  const auto statistics = [&](BatchNormShape shape, const float* x, float momentum, float epsilon) {
    return Refusal([&] { BatchNormStatistics(shape, x, momentum, epsilon, a, a, a, a, nullptr); });
  };
  EXPECT_EQ(statistics({0, 4}, a, 0.9f, 0),
            "BatchNormStatistics: 0 rows, expected 1 to 274877906944");
  EXPECT_EQ(statistics({4, 0}, a, 0.9f, 0),
            "BatchNormStatistics: 0 channels, expected 1 to 16777216");
  EXPECT_EQ(statistics({1, 1}, off, 0.9f, 0), "BatchNormStatistics: x is not aligned to 16 bytes");
  EXPECT_EQ(statistics({1, 1}, a, 1.5f, 0),
            "BatchNormStatistics: momentum 1.500000, expected 0 to 1");
  EXPECT_EQ(statistics({1, 1}, a, std::nanf(""), 0),
            "BatchNormStatistics: momentum nan, expected 0 to 1");
  EXPECT_EQ(statistics({1, 1}, a, 0.9f, -1),
            "BatchNormStatistics: epsilon -1.000000, expected at least 0");
  EXPECT_EQ(Refusal([&] { BatchNormFromRunning(0, a, a, 0, a, nullptr); }),
            "BatchNormFromRunning: 0 channels, expected 1 to 16777216");
  EXPECT_EQ(Refusal([&] {
              BatchNormApply({1, 1}, a, a, a, a, off, kOff, a, nullptr);
            }),
            "BatchNormApply: the residual is not aligned to 16 bytes");
  EXPECT_EQ(Refusal([&] {
              BatchNormApply({1, 1}, a, a, a, a, a, {true, 1}, a, nullptr);
            }),
            "BatchNormApply: slope 1.000000, expected at least 0 and below 1");
  EXPECT_EQ(Refusal([&] {
              BatchNormWorkspace({-3, 4});
            }),
            "BatchNorm: -3 rows, expected 1 to 274877906944");
  const auto backward = [&](const float* y, float* dx, float* dresidual) {
    return Refusal([&] {
      BatchNormBackward<float>({1, 1}, a, y, a, a, a, kRelu, a, {a, a, dx, false, dresidual},
                               nullptr);
    });
  };
  EXPECT_EQ(backward(nullptr, a, nullptr),
            "BatchNormBackward: y is null, expected the output of the activation");
  EXPECT_EQ(backward(a, off, nullptr), "BatchNormBackward: dx is not aligned to 16 bytes");
  EXPECT_EQ(backward(a, other->data(), other->data()),
            "BatchNormBackward: dx and dresidual are the same, expected two buffers");
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
