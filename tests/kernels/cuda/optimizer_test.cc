// Steps over flat spans are what the formulas give in float64, and padding stays zero.
#include "tests/kernels/cuda/cases/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "kernels/backend.h"

namespace trainyard::kernels::cuda::testing {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rates so high that parameters move as far as they are large: their error is the update's.
OptimizerSetting DrawSetting(Draw& draw, bool adamw) {
  OptimizerSetting setting;
  setting.count = kSpanBlock * draw.Between(1, kSmallShapes ? 20 : 60);
  setting.steps = draw.Between(1, 3);
  setting.norm = draw.OneOf({0.0, 0.5, 3.0, 1e5, 1e30});
  setting.copy = draw.Chance(50);
  StepBlock& step = setting.step;
  step.step = draw.OneOf({0, 1, 10, 1000, 1000000});
  step.learning_rate = 0.1f;
  step.weight_decay = draw.OneOf({0.0f, 0.01f, 0.3f});
  step.clip_norm = draw.OneOf({0.0f, 1.0f, 4.0f});
  step.adamw = adamw;
  step.momentum = draw.OneOf({0.0f, 0.5f, 0.9f});
  step.nesterov = draw.Chance(50);
  step.beta1 = draw.OneOf({0.0f, 0.3f, 0.9f});
  step.beta2 = draw.OneOf({0.5f, 0.99f, 0.999f});
  step.epsilon = draw.OneOf({1e-8f, 1e-3f});
  return setting;
}

TEST(GradientNorm, AnyCountIncludingMoreThanOneWave) {
  const std::vector<int> blocks =
      kSmallShapes ? std::vector{1, 2, 63, 65, 200} : std::vector{1, 2, 63, 64, 65, 1000, 66000};
  for (int count : blocks) {
    EXPECT_EQ(Problem(GradientNormCase(int64_t{count} * kSpanBlock, 1, count)), "");
  }
}

TEST(GradientNorm, NeitherOverflowsNorUnderflows) {
  for (float scale : {1e-30f, 1e-20f, 1e18f, 1e30f}) {
    EXPECT_EQ(Problem(GradientNormCase(3 * kSpanBlock, scale, 1)), "") << scale;
  }
}

TEST(GradientNorm, OfZerosNaNsAndInfinities) {
  EXPECT_EQ(Problem(GradientNormCase(2 * kSpanBlock, 0, 1)), "");
  EXPECT_EQ(Problem(GradientNormCase(2 * kSpanBlock, kInfinity, 1)), "");
  EXPECT_EQ(Problem(GradientNormCase(2 * kSpanBlock, kNaN, 1)), "");
}

TEST(OptimizerStep, SgdOfRandomSettings) {
  for (int i = 0; i < (kSmallShapes ? 15 : 60); ++i) {
    Draw draw(i);
    EXPECT_EQ(Problem(OptimizerCase(DrawSetting(draw, false), i)), "");
  }
}

TEST(OptimizerStep, AdamWOfRandomSettings) {
  for (int i = 0; i < (kSmallShapes ? 15 : 60); ++i) {
    Draw draw(100 + i);
    EXPECT_EQ(Problem(OptimizerCase(DrawSetting(draw, true), i)), "");
  }
}

// A norm that is no number clips nothing, an infinite one clips to zero; the spoiled gradient shows
// either way.
TEST(OptimizerStep, NaNsAreNeverLost) {
  for (bool adamw : {false, true}) {
    for (float clip_norm : {0.0f, 1.0f}) {
      Draw draw(200);
      OptimizerSetting setting = DrawSetting(draw, adamw);
      setting.copy = true;
      setting.step.clip_norm = clip_norm;
      for (float spoiler : {kNaN, kInfinity}) {
        setting.norm = setting.spoiler = spoiler;
        const KernelCase kernel = OptimizerCase(setting, 1);
        EXPECT_EQ(Problem(kernel), "") << spoiler << " clipped to " << clip_norm;
        EXPECT_FALSE(std::isfinite(kernel.outputs[0].expected[0]));
      }
    }
  }
}

// The cases hold padding against zero too, but among much else: here it must be zero to the bit.
TEST(OptimizerStep, PaddingStaysZeroWithDecayAndMoments) {
  for (bool adamw : {false, true}) {
    StepBlock step;
    step.adamw = adamw;
    step.nesterov = 1;
    step.learning_rate = 10;
    step.momentum = step.beta1 = 0.9f;
    step.beta2 = 0.99f;
    step.correction1 = step.correction2 = 0.1f;
    step.epsilon = 1e-8f;
    step.weight_decay = 0.5f;
    step.clip_norm = 1;
    const auto block = Upload(std::vector{step});
    for (double size : {0.0, 7.0, std::numeric_limits<double>::infinity()}) {
      const std::vector<float> zeros(2 * kSpanBlock);
      const auto gradients = Upload(zeros), w = Upload(zeros), m = Upload(zeros), v = Upload(zeros);
      const auto decays = Upload(std::vector<uint8_t>{1, 1});
      const auto copy = Allocate<bf16>(2 * kSpanBlock);
      const auto norm = Upload(std::vector{size});
      OptimizerStep(block->data(), norm->data(),
                    {2 * kSpanBlock, gradients->data(), decays->data(), w->data(), m->data(),
                     v->data(), copy->data()},
                    nullptr);
      for (const auto& span : {w, m, v}) EXPECT_THAT(span->Read(), ::testing::Each(0.0f));
      EXPECT_THAT(Widen(copy->Read()), ::testing::Each(0.0));
    }
  }
}

TEST(OptimizerStep, RefusesWhatItCannotDo) {
  const auto words = [](const char* text) {
    return ::testing::ThrowsMessage<kernels::Error>(::testing::HasSubstr(text));
  };
  const auto floats = Allocate<float>(2 * kSpanBlock);
  const auto doubles = Allocate<double>(4);
  const auto norm = [&](int64_t count, int offset, int workspace_offset) {
    return [=] {
      GradientNorm(floats->data() + offset, count, doubles->data() + workspace_offset,
                   doubles->data(), nullptr);
    };
  };
  EXPECT_THAT(norm(0, 0, 0), words("GradientNorm: the span has 0 elements, expected a multiple"));
  EXPECT_THAT(norm(65, 0, 0), words("GradientNorm: the span has 65 elements"));
  EXPECT_THAT(norm(-64, 0, 0), words("GradientNorm: the span has -64 elements"));
  EXPECT_THAT(norm(64, 1, 0), words("GradientNorm: gradients is not aligned to 16 bytes"));
  EXPECT_THAT(norm(64, 0, 1), words("GradientNorm: workspace is not aligned to 16 bytes"));
  EXPECT_THAT([] { GradientNormWorkspace(63); }, words("the span has 63 elements"));

  float *good = floats->data(), *bad = good + 2;
  bf16* bad_copy = reinterpret_cast<bf16*>(bad);
  const auto step = [&](const OptimizerSpans& spans) {
    return [=] { OptimizerStep(nullptr, nullptr, spans, nullptr); };
  };
  EXPECT_THAT(step({0, good, nullptr, good, good}), words("OptimizerStep: the span has 0"));
  EXPECT_THAT(step({100, good, nullptr, good, good}), words("OptimizerStep: the span has 100"));
  EXPECT_THAT(step({64, bad, nullptr, good, good}), words("gradients is not aligned"));
  EXPECT_THAT(step({64, good, nullptr, bad, good}), words("parameters is not aligned"));
  EXPECT_THAT(step({64, good, nullptr, good, bad}), words("moment1 is not aligned"));
  EXPECT_THAT(step({64, good, nullptr, good, good, bad}), words("moment2 is not aligned"));
  EXPECT_THAT(step({64, good, nullptr, good, good, good, bad_copy}), words("copy is not aligned"));
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
