// `--set` changes a spec as if it had been written so, and says which override is wrong.
#include <gmock/gmock.h>

#include "tests/coordinator/source/spec_sample.h"

namespace trainyard::coordinator {
namespace {

using testing::HasSubstr;

network::Network NetworkWith(const std::vector<std::string>& overrides) {
  return Accepted(kSmallSpec, overrides).configuration.network;
}

TEST(Override, ReplacesAndAdds) {
  JobSpec spec = Accepted(std::string(kSmallSpec) + "train: {lr: 0.5, epochs: 3}\n",
                          {"train.lr=0.05", "train.schedule.kind=step", "budget.time=2h",
                           "target=val_accuracy >= 0.92", "train.augmentation={flip: true}"});
  EXPECT_EQ(spec.configuration.training.optimizer.learning_rate, 0.05);
  EXPECT_EQ(spec.configuration.training.epochs, 3);
  EXPECT_EQ(spec.configuration.training.schedule.kind, network::ScheduleKind::kStep);
  EXPECT_TRUE(spec.configuration.training.augmentation.flip);
  EXPECT_EQ(spec.budget.time_ms(), 7'200'000);
  EXPECT_EQ(spec.target.bound(), 0.92);
  EXPECT_EQ(Accepted(kSmallSpec, {"target=0.95"}).target.bound(), 0.95);
  EXPECT_EQ(Accepted(kSmallSpec, {"train.lr=1", "train.lr=2"})
                .configuration.training.optimizer.learning_rate,
            2);
}

TEST(Override, ResourcesOfASpecThatNamesNone) {
  JobSpec spec = Accepted(kSmallSpec, {"resources.priority=5", "resources.labels.site=berlin",
                                       "resources.gpu_memory=8GB"});
  EXPECT_EQ(spec.resources.priority(), 5);
  EXPECT_EQ(spec.resources.labels().at("site"), "berlin");
  EXPECT_EQ(spec.resources.gpu_memory_bytes(), 8'000'000'000);
}

TEST(Override, EntersListsByIndex) {
  EXPECT_EQ(
      std::get<network::Dense>(NetworkWith({"network.layers[1].dense=12"}).layers[1].op).units, 12);
  EXPECT_EQ(std::get<network::Dense>(NetworkWith({"network.layers.1.dense=12"}).layers[1].op).units,
            12);
  EXPECT_TRUE(
      std::holds_alternative<network::Relu>(NetworkWith({"network.layers[0]=relu"}).layers[0].op));
}

TEST(Override, SpellsOutShortForms) {
  auto dense =
      std::get<network::Dense>(NetworkWith({"network.layers[1].dense.bias=false"}).layers[1].op);
  EXPECT_EQ(dense, (network::Dense{10, false}));
  auto norm = std::get<network::BatchNorm>(
      NetworkWith({"network.layers[0]=batch_norm", "network.layers[0].batch_norm.momentum=0.5"})
          .layers[0]
          .op);
  EXPECT_EQ(norm.momentum, 0.5);
  JobSpec spec = Accepted(std::string(kSmallSpec) + "train: {schedule: step}\ntune: true\n",
                          {"train.schedule.step_epochs=3", "tune.max_trials=2"});
  EXPECT_EQ(spec.configuration.training.schedule.kind, network::ScheduleKind::kStep);
  EXPECT_EQ(spec.configuration.training.schedule.step_epochs, 3);
  EXPECT_EQ(spec.tune.max_trials(), 2);
  std::string listed = "data: {format: cifar, train: a}\nnetwork: [flatten, dense: 10]\n";
  EXPECT_EQ(Accepted(listed, {"network.input=[3, 8, 8]"}).configuration.network.input.width, 8);
}

TEST(Override, IsNamedWhenItIsWrong) {
  EXPECT_EQ(Refusal(kSmallSpec, {"train.lr=0"}),
            "--set train.lr: found 0, expected a number greater than 0, at most 100");
  EXPECT_EQ(Refusal(kSmallSpec, {"train.epochs=3", "train.lr=fast"}),
            "--set train.lr: found \"fast\", expected a finite number");
  EXPECT_EQ(Refusal(kSmallSpec, {"train.learning_rate=1"}),
            "--set train.learning_rate: train: found the unknown key \"learning_rate\", did you "
            "mean lr?");
  EXPECT_THAT(Refusal(kSmallSpec, {"network.layers[7].dense=1"}),
              HasSubstr("--set network.layers[7].dense: found the index \"7\" of a list of 2"));
  EXPECT_THAT(Refusal(kSmallSpec, {"data.format.x=1"}),
              HasSubstr("--set data.format.x: found \"idx\" where x is entered"));
  EXPECT_THAT(Refusal(kSmallSpec, {"resources.priority=high"}),
              HasSubstr("--set resources.priority: found \"high\", expected a whole number from "
                        "-100 to 100"));
  EXPECT_THAT(Refusal(kSmallSpec, {"resources.labels.site=a b"}),
              HasSubstr("--set resources.labels.site: found \"a b\", expected a label's value"));
  EXPECT_THAT(Refusal(kSmallSpec, {"train.lr=[1"}),
              HasSubstr("--set train.lr: found a list or map as a key (is a bracket not"));
  EXPECT_THAT(Refusal(kSmallSpec, {"train.lr"}), HasSubstr("expected key=value"));
  EXPECT_THAT(Refusal(kSmallSpec, {"=1"}), HasSubstr("expected key=value"));
  for (const char* path : {"a..b=1", "a[=1", "a[]=1", "[0]x=1", ".=1", "a.=1"}) {
    EXPECT_THAT(Refusal(kSmallSpec, {path}), HasSubstr("found a path that cannot be read")) << path;
  }
}

TEST(Override, ComesAfterTheProblemsOfTheFile) {
  EXPECT_EQ(Refusal(std::string(kSmallSpec) + "trian: 1\n", {"train.lr=0"}),
            "trainyard.yaml:8:1: found the unknown key \"trian\", did you mean train?\n"
            "--set train.lr: found 0, expected a number greater than 0, at most 100");
}

}  // namespace
}  // namespace trainyard::coordinator
