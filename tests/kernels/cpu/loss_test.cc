// The loss of rows with padding is that of the reference, with every instruction set.
#include "kernels/cpu/loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd/layout.h"
#include "kernels/cpu/simd/target.h"
#include "kernels/reference/ops.h"

namespace trainyard::kernels::cpu {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rows of logits, with something in their padding that is larger, and labels.
struct Case {
  Case(int batch, int classes, float spread, uint64_t seed) : classes(classes) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> logit(0, spread);
    logits.assign(size_t(batch) * Padded(classes), 1000.0f);
    for (int n = 0; n < batch; ++n) {
      for (int k = 0; k < classes; ++k) Logit(n, k) = logit(random);
      labels.push_back(static_cast<int32_t>(random() % classes));
      indices.push_back(batch - 1 - n);
    }
    images.labels = labels;
  }
  Case(const Case&) = delete;

  float& Logit(int n, int k) { return logits[size_t(n) * Padded(classes) + k]; }
  int32_t LabelOf(int n) const { return labels[indices[n]]; }

  BatchLoss Run(float smoothing, std::vector<float>* gradient) {
    std::vector<RowLoss> rows(indices.size());
    if (gradient != nullptr) gradient->assign(logits.size(), kNaN);
    return SoftmaxCrossEntropy({&images, indices, classes, smoothing}, logits.data(),
                               gradient == nullptr ? nullptr : gradient->data(), rows.data());
  }

  int classes;
  std::vector<float> logits;
  std::vector<int32_t> labels, indices;
  ImageSet images;
};

void ExpectLikeReference(Case& c, float smoothing) {
  const int batch = static_cast<int>(c.indices.size()), classes = c.classes;
  std::vector<double> plain, expected(size_t(batch) * classes);
  std::vector<int32_t> labels;
  for (int n = 0; n < batch; ++n) {
    labels.push_back(c.LabelOf(n));
    for (int k = 0; k < classes; ++k) plain.push_back(c.Logit(n, k));
  }
  const reference::LossSum reference =
      reference::SoftmaxCrossEntropy(plain, labels, classes, smoothing, expected);
  std::vector<float> gradient;
  const BatchLoss loss = c.Run(smoothing, &gradient);
  EXPECT_NEAR(loss.sum, reference.loss, 1e-12 * std::abs(reference.loss));
  EXPECT_EQ(loss.correct, reference.correct);
  double error = 0, norm = 0;
  for (int n = 0; n < batch; ++n) {
    for (int k = 0; k < Padded(classes); ++k) {
      const float found = gradient[n * Padded(classes) + k];
      if (k >= classes) {
        ASSERT_EQ(found, 0) << "padding " << n << ", " << k;
        continue;
      }
      const double wanted = expected[n * classes + k];
      error += (found - wanted) * (found - wanted);
      norm += wanted * wanted;
    }
  }
  EXPECT_LE(std::sqrt(error), 1e-7 * std::sqrt(norm));
  const BatchLoss alone = c.Run(smoothing, nullptr);
  EXPECT_EQ(alone.sum, loss.sum);
  EXPECT_EQ(alone.correct, loss.correct);
}

TEST(Loss, IsTheReferencesForEveryInstructionSet) {
  for (const std::string& target : SimdTargets()) {
    SCOPED_TRACE(target);
    UseSimdTarget(target);
    for (int classes : {1, 2, 7, 10, 16, 17, 100, 1000}) {
      for (float spread : {0.01f, 1.0f, 300.0f}) {
        for (float smoothing : {0.0f, 0.1f}) {
          SCOPED_TRACE(std::to_string(classes) + " classes, spread " + std::to_string(spread));
          Case c(classes > 100 ? 5 : 37, classes, spread, static_cast<uint64_t>(classes));
          ExpectLikeReference(c, smoothing);
        }
      }
    }
  }
  UseSimdTarget("");
}

TEST(Loss, TheFirstOfEqualLogitsIsTheAnswer) {
  Case c(2, 3, 1, 1);
  for (int n = 0; n < 2; ++n) {
    for (int k = 0; k < 3; ++k) c.Logit(n, k) = k == 0 ? 0.5f : 1.0f;
  }
  c.labels = {2, 1};
  EXPECT_EQ(c.Run(0, nullptr).correct, 1);
  c.labels = {0, 0};
  EXPECT_EQ(c.Run(0, nullptr).correct, 0);
}

TEST(Loss, ALogitThatIsNotFiniteIsNotHidden) {
  for (const std::string& target : SimdTargets()) {
    SCOPED_TRACE(target);
    UseSimdTarget(target);
    for (float bad : {kNaN, kInfinity, -kInfinity}) {
      Case c(2, 20, 1, 2);
      c.Logit(1, 18) = bad;
      std::vector<float> gradient;
      EXPECT_TRUE(std::isnan(c.Run(0, &gradient).sum));
      for (int k = 0; k < 20; ++k) {
        EXPECT_TRUE(std::isfinite(gradient[k]));
        EXPECT_TRUE(std::isnan(gradient[32 + k]));
      }
      EXPECT_EQ(gradient[32 + 20], 0);
    }
  }
  UseSimdTarget("");
}

TEST(Loss, IsTheSameBytesForAnyNumberOfThreads) {
  Case c(301, 130, 3, 3);
  std::vector<float> one, many;
  BatchLoss with_one, with_many;
  {
    const ThreadScope scope(1);
    with_one = c.Run(0.1f, &one);
  }
  {
    const ThreadScope scope(5);
    with_many = c.Run(0.1f, &many);
  }
  EXPECT_EQ(with_one.sum, with_many.sum);
  EXPECT_EQ(one, many);
}

}  // namespace
}  // namespace trainyard::kernels::cpu
