// Each hyperparameter's range holds, also against NaN and infinity.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "network/shapes.h"
#include "tests/network/sample.h"

namespace trainyard::network {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(CheckTraining, AcceptsTheDefaults) {
  EXPECT_TRUE(CheckTraining(Training{}, Sample()).empty());
}

struct Case {
  const char* path;
  std::function<void(Training&)> spoil;
};

TEST(CheckTraining, EachFieldOutOfRangeIsNamedAlone) {
  const Case cases[] = {
      {"train.epochs", [](auto& t) { t.epochs = 0; }},
      {"train.epochs", [](auto& t) { t.epochs = 1'000'000'000; }},
      {"train.batch_size", [](auto& t) { t.batch_size = 0; }},
      {"train.lr", [](auto& t) { t.optimizer.learning_rate = kNaN; }},
      {"train.lr", [](auto& t) { t.optimizer.learning_rate = 0; }},
      {"train.lr", [](auto& t) { t.optimizer.learning_rate = kInfinity; }},
      {"train.momentum", [](auto& t) { t.optimizer.momentum = 1; }},
      {"train.beta1", [](auto& t) { t.optimizer.beta1 = -0.1; }},
      {"train.beta2", [](auto& t) { t.optimizer.beta2 = 1; }},
      {"train.epsilon", [](auto& t) { t.optimizer.epsilon = 0; }},
      {"train.weight_decay", [](auto& t) { t.optimizer.weight_decay = -1e-4; }},
      {"train.clip_norm", [](auto& t) { t.optimizer.clip_norm = kInfinity; }},
      {"train.schedule.warmup_epochs", [](auto& t) { t.schedule.warmup_epochs = 11; }},
      {"train.schedule.step_epochs", [](auto& t) { t.schedule.step_epochs = 0; }},
      {"train.schedule.step_factor", [](auto& t) { t.schedule.step_factor = 1.5; }},
      {"train.schedule.final_factor", [](auto& t) { t.schedule.final_factor = kNaN; }},
      {"train.schedule.peak_at", [](auto& t) { t.schedule.peak_at = 1; }},
      {"train.augmentation.shift", [](auto& t) { t.augmentation.shift = 28; }},
      {"train.augmentation.cutout", [](auto& t) { t.augmentation.cutout = -1; }},
      {"train.label_smoothing", [](auto& t) { t.label_smoothing = 1; }},
      {"train.precision", [](auto& t) { t.precision = static_cast<Precision>(3); }},
      {"train.precision", [](auto& t) { t.precision = static_cast<Precision>(-1); }},
  };
  for (const Case& c : cases) {
    Training training;
    c.spoil(training);
    auto problems = CheckTraining(training, Sample());
    ASSERT_EQ(problems.size(), 1u) << c.path;
    EXPECT_EQ(problems[0].path, c.path);
    EXPECT_THAT(problems[0].message, testing::HasSubstr("expected"));
  }
}

TEST(CheckTraining, ImageSizesAreOnlyHeldToAKnownInput) {
  Training training;
  training.augmentation.cutout = 29;
  EXPECT_EQ(CheckTraining(training, Sample()).size(), 1u);
  EXPECT_TRUE(CheckTraining(training, Network{}).empty());
}

TEST(CheckTraining, OneCycleHasItsOwnWarmUp) {
  Training training;
  training.schedule.kind = ScheduleKind::kOneCycle;
  training.schedule.warmup_epochs = 1;
  auto problems = CheckTraining(training, Sample());
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].path, "train.schedule.warmup_epochs");
}

}  // namespace
}  // namespace trainyard::network
