// What is written arrives: each section, long and short forms, defaults, and the second phase.
#include "coordinator/source/spec_reader.h"

#include <gmock/gmock.h>

#include "tests/coordinator/source/spec_sample.h"

namespace trainyard::coordinator {
namespace {

using network::Layer;
using testing::HasSubstr;

std::vector<Layer> Layers(const std::string& lines) {
  return Accepted(Replaced(kSmallSpec, "    - flatten\n    - dense: 10\n", lines))
      .configuration.network.layers;
}

TEST(ReadSpec, DefaultsOfASmallSpec) {
  JobSpec spec = Accepted(kSmallSpec);
  EXPECT_EQ(spec.configuration.training, network::Training{});
  EXPECT_EQ(spec.validation.fraction(), 0.1);
  EXPECT_EQ(spec.validation.seed(), 1u);
  EXPECT_EQ(spec.target.metric(), v1::Target::VAL_ACCURACY);
  EXPECT_EQ(spec.target.bound(), 0.80);
  EXPECT_TRUE(spec.tune.enabled());
  EXPECT_EQ(spec.tune.max_trials(), 10);
  EXPECT_EQ(spec.budget.trials(), 0);
  EXPECT_EQ(spec.checkpoint.every_ms(), 60'000);
  EXPECT_EQ(spec.data.train().images(0).path(), "train-images.gz");
  EXPECT_EQ(spec.data.train().labels(0).path(), "train-labels.gz");
  EXPECT_FALSE(spec.data.has_test());
}

TEST(ReadSpec, TheRepositoryNamesASpecWithoutAName) {
  auto parsed = ReadSpec({.text = kSmallSpec, .default_name = "shoes"});
  EXPECT_EQ(parsed->spec.name, "shoes");
  EXPECT_EQ(Accepted("name: boots\n" + std::string(kSmallSpec)).name, "boots");
}

TEST(ReadSpec, LayersInShortAndLongForms) {
  auto layers = Layers(R"(
    - conv: {filters: 8, kernel: [3, 5], stride: [2, 1], padding: same, groups: 2, bias: false}
    - conv:
        filters: 4
        padding: [1, 2]
    - conv: {filters: 4, padding: {top: 1, right: 2}}
    - batch_norm
    - batch_norm: {momentum: 0.95, epsilon: 1e-3}
    - relu
    - leaky_relu
    - leaky_relu: 0.2
    - max_pool
    - max_pool: 3
    - avg_pool: {kernel: 3, stride: 1, padding: 1}
    - max_pool: [2, 3]
    - dropout: 0.25
    - dropout: {rate: 0.3}
    - global_avg_pool:
    - flatten: {}
    - dense: {units: 10, bias: false}
)");
  using namespace network;
  std::vector<Layer> expected = {{Conv{8, {3, 5}, {2, 1}, {.same = true}, 2, false}},
                                 {Conv{4, {3, 3}, {1, 1}, {false, 1, 1, 2, 2}, 1, true}},
                                 {Conv{4, {3, 3}, {1, 1}, {false, 1, 0, 0, 2}, 1, true}},
                                 {BatchNorm{}},
                                 {BatchNorm{0.95, 1e-3}},
                                 {Relu{}},
                                 {Relu{0.01}},
                                 {Relu{0.2}},
                                 {Pool{}},
                                 {Pool{PoolKind::kMax, {3, 3}, {3, 3}, {}}},
                                 {Pool{PoolKind::kAverage, {3, 3}, {1, 1}, {false, 1, 1, 1, 1}}},
                                 {Pool{PoolKind::kMax, {2, 3}, {2, 3}, {}}},
                                 {Dropout{0.25}},
                                 {Dropout{0.3}},
                                 {GlobalAvgPool{}},
                                 {Flatten{}},
                                 {Dense{10, false}}};
  ASSERT_EQ(layers.size(), expected.size());
  for (size_t i = 0; i < layers.size(); ++i) EXPECT_TRUE(layers[i] == expected[i]) << i;
}

TEST(ReadSpec, AProjectionFollowsItsBody) {
  auto layers = Layers(R"(
    - residual:
        layers:
          - conv: {filters: 16, stride: 2, padding: same, bias: false}
          - batch_norm
          - residual: [relu, conv: {filters: 16, padding: same}]
          - max_pool: {kernel: 2, stride: [1, 2]}
        projection: true
    - residual: {layers: [conv: {filters: 16, padding: same}], projection: true}
    - residual: {layers: [relu], shortcut: [leaky_relu]}
)");
  using namespace network;
  std::vector<Layer> normed = {{Conv{16, {1, 1}, {2, 4}, {}, 1, false}}, {BatchNorm{}}};
  EXPECT_TRUE(std::get<Residual>(layers[0].op).shortcut == normed);
  std::vector<Layer> plain = {{Conv{16, {1, 1}, {1, 1}, {}, 1, true}}};
  EXPECT_TRUE(std::get<Residual>(layers[1].op).shortcut == plain);
  EXPECT_TRUE(std::get<Residual>(layers[2].op).shortcut == std::vector<Layer>{{Relu{0.01}}});
}

TEST(ReadSpec, Hyperparameters) {
  auto training = Accepted(std::string(kSmallSpec) + R"(
train:
  epochs: 3
  batch_size: 64
  optimizer: sgd
  lr: 1e-1
  momentum: 0.8
  nesterov: false
  weight_decay: 0
  clip_norm: 5
  schedule: {kind: step, step_epochs: 2, step_factor: 0.5, warmup_epochs: 0.5}
  label_smoothing: .1
  augmentation: {flip: true, shift: 2, cutout: 4, normalise: false}
  initialisation: glorot
  precision: bf16
  seed: 18446744073709551615
)")
                      .configuration.training;
  EXPECT_EQ(training.epochs, 3);
  EXPECT_EQ(training.batch_size, 64);
  EXPECT_EQ(training.optimizer.learning_rate, 0.1);
  EXPECT_EQ(training.optimizer.momentum, 0.8);
  EXPECT_FALSE(training.optimizer.nesterov);
  EXPECT_EQ(training.optimizer.weight_decay, 0);
  EXPECT_EQ(training.optimizer.clip_norm, 5);
  EXPECT_EQ(training.schedule.kind, network::ScheduleKind::kStep);
  EXPECT_EQ(training.schedule.step_factor, 0.5);
  EXPECT_EQ(training.label_smoothing, 0.1);
  EXPECT_EQ(training.augmentation, (network::Augmentation{true, 2, 4, false}));
  EXPECT_EQ(training.initialisation, network::Initialisation::kGlorot);
  EXPECT_EQ(training.precision, network::Precision::kBf16);
  EXPECT_EQ(training.seed, UINT64_MAX);
}

TEST(ReadSpec, AdamWHasDefaultsOfItsOwn) {
  auto optimizer = Accepted(std::string(kSmallSpec) + "train: {optimizer: adamw}\n")
                       .configuration.training.optimizer;
  EXPECT_EQ(optimizer.learning_rate, 1e-3);
  EXPECT_EQ(optimizer.weight_decay, 1e-2);
}

v1::Target TargetOf(const std::string& line) {
  return Accepted(std::string(kSmallSpec) + line + "\n").target;
}

TEST(ReadSpec, TargetsInAllForms) {
  for (const char* line :
       {"target: val_accuracy >= 0.91", "target: val_accuracy>=0.91", "target: 0.91",
        "target: {metric: val_accuracy, at_least: 0.91}", "target: {at_least: 0.91}"}) {
    EXPECT_EQ(TargetOf(line).metric(), v1::Target::VAL_ACCURACY) << line;
    EXPECT_EQ(TargetOf(line).bound(), 0.91) << line;
  }
  for (const char* line : {"target: val_loss <= 0.3", "target: {metric: val_loss, at_most: 0.3}"}) {
    EXPECT_EQ(TargetOf(line).metric(), v1::Target::VAL_LOSS) << line;
    EXPECT_EQ(TargetOf(line).bound(), 0.3) << line;
  }
}

TEST(ReadSpec, Limits) {
  JobSpec spec = Accepted(std::string(kSmallSpec) +
                          "validation: {fraction: 1/12, seed: 7}\n"
                          "tune: {max_trials: 3}\n"
                          "budget: {trials: 4, time: 1h30m, epochs: 50}\n"
                          "checkpoint: {every_steps: 100, every_seconds: 0.5}\n");
  EXPECT_EQ(spec.validation.fraction(), 1.0 / 12);
  EXPECT_EQ(spec.validation.seed(), 7u);
  EXPECT_EQ(spec.tune.max_trials(), 3);
  EXPECT_EQ(spec.budget.trials(), 4);
  EXPECT_EQ(spec.budget.time_ms(), 5'400'000);
  EXPECT_EQ(spec.budget.epochs(), 50);
  EXPECT_EQ(spec.checkpoint.every_steps(), 100);
  EXPECT_EQ(spec.checkpoint.every_ms(), 500);
  EXPECT_FALSE(Accepted(std::string(kSmallSpec) + "tune: false\n").tune.enabled());
}

v1::Resources ResourcesOf(const std::string& line, std::vector<std::string> overrides = {}) {
  return Accepted(std::string(kSmallSpec) + line + "\n", std::move(overrides)).resources;
}

TEST(ReadSpec, Resources) {
  v1::Resources resources = ResourcesOf(R"(
resources:
  pool: gpu
  gpu: required
  gpu_memory: 12GiB
  labels: {site: berlin, rack: 7}
  priority: -5)");
  EXPECT_EQ(resources.pool(), "gpu");
  EXPECT_EQ(resources.gpu(), v1::Resources::REQUIRED);
  EXPECT_EQ(resources.gpu_memory_bytes(), int64_t{12} << 30);
  EXPECT_EQ(resources.labels().at("site"), "berlin");
  EXPECT_EQ(resources.labels().at("rack"), "7") << "a label is text, whatever it looks like";
  EXPECT_EQ(resources.priority(), -5);
  for (const char* line : {"", "resources:", "resources: {}", "resources: {labels: {}}"}) {
    EXPECT_EQ(ResourcesOf(line).ShortDebugString(), "gpu: ANY") << line;
  }
  EXPECT_EQ(ResourcesOf("resources: {gpu: none}").gpu(), v1::Resources::NONE);
}

TEST(ReadSpec, SizesInEveryUnit) {
  auto bytes = [](const std::string& size) {
    return ResourcesOf("resources: {gpu_memory: " + size + "}").gpu_memory_bytes();
  };
  EXPECT_EQ(bytes("800MB"), 800'000'000);
  EXPECT_EQ(bytes("80GB"), 80'000'000'000);
  EXPECT_EQ(bytes("1MiB"), 1 << 20);
  EXPECT_EQ(bytes("1.5GiB"), 1'610'612'736);
  EXPECT_EQ(bytes("65536GiB"), int64_t{1} << 46);
}

TEST(ReadSpec, FilesFromTheRepositoryTheHostAndTheWeb) {
  std::string hash(64, 'a');
  JobSpec spec = Accepted(
      "data:\n  format: cifar\n  train: [a/1.bin, /data/2.bin, {url: \"https://x.org/3.bin\", "
      "sha256: " +
      hash +
      "}]\n  test: b.bin\n  validation: {images: [c.bin]}\n  classes: 10\n"
      "network: [flatten, dense: 10]\n");
  const auto& files = spec.data.train().images();
  ASSERT_EQ(files.size(), 3);
  EXPECT_EQ(files[0].path(), "a/1.bin");
  EXPECT_EQ(files[1].host_path(), "/data/2.bin");
  EXPECT_EQ(files[2].url(), "https://x.org/3.bin");
  EXPECT_EQ(files[2].sha256(), hash);
  EXPECT_EQ(spec.data.test().images(0).path(), "b.bin");
  EXPECT_EQ(spec.validation.fraction(), 0) << "it has files of its own";
  JobSpec folder = Accepted(
      "data: {format: folder, train: photos/, image: [3, 32, 48]}\n"
      "network: [flatten, dense: 10]\n");
  EXPECT_EQ(folder.data.image().width(), 48);
}

v1::Data Opened(const JobSpec& spec, int side, int classes) {
  v1::Data data = spec.data;
  data.set_classes(classes);
  data.mutable_image()->set_channels(1);
  data.mutable_image()->set_height(side);
  data.mutable_image()->set_width(side);
  data.mutable_train()->set_count(60'000);
  return data;
}

TEST(CompleteSpec, TakesShapeAndClassesFromTheData) {
  auto parsed = Read(kSmallSpec);
  ASSERT_TRUE(parsed.ok());
  ASSERT_TRUE(CompleteSpec(Opened(parsed->spec, 28, 10), &*parsed).ok());
  EXPECT_EQ(parsed->spec.configuration.network.input, (network::Shape{1, 28, 28}));
  EXPECT_EQ(parsed->spec.configuration.network.classes, 10);
  EXPECT_EQ(parsed->spec.data.train().count(), 60'000);
  EXPECT_TRUE(CheckNetwork(parsed->spec.configuration.network).empty());
}

TEST(CompleteSpec, NamesThePlaceOfWhatDisagreesWithTheData) {
  auto parsed = Read(Replaced(kSmallSpec, "    - flatten\n",
                              "    - conv: {filters: 2, kernel: 9}\n    - flatten\n") +
                     "train: {augmentation: {cutout: 8}}\n");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(std::string(CompleteSpec(Opened(parsed->spec, 7, 10), &*parsed).message()),
            "trainyard.yaml:6:34: network.layers[0].conv.kernel: found 9, expected at most 7 (the "
            "input is 7x7)\n"
            "trainyard.yaml:9:32: train.augmentation.cutout: found 8, expected a whole number from "
            "0 to 7");
  parsed = Read(kSmallSpec);
  EXPECT_EQ(std::string(CompleteSpec(Opened(parsed->spec, 28, 7), &*parsed).message()),
            "trainyard.yaml:7:14: network.layers[1].dense.units: found 10 values at the end of the "
            "network, expected 7 (one per class)");
  parsed = Read(Replaced(kSmallSpec, "  layers:", "  input: [3, 28, 28]\n  layers:"));
  EXPECT_THAT(std::string(CompleteSpec(Opened(parsed->spec, 28, 10), &*parsed).message()),
              HasSubstr("trainyard.yaml:5:10: network.input: found 3x28x28, expected the data's"));
}

TEST(JobSpec, SurvivesTheTripThroughItsMessage) {
  JobSpec spec = Accepted(std::string(kSmallSpec) + "target: val_loss <= 0.2\nname: x\n");
  v1::JobSpec message = ToProto(spec);
  EXPECT_EQ(ToProto(FromProto(message)).SerializeAsString(), message.SerializeAsString());
  EXPECT_EQ(message.configuration().network().layers_size(), 2);
}

}  // namespace
}  // namespace trainyard::coordinator
