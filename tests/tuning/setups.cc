#include "tests/tuning/setups.h"

#include <algorithm>
#include <numeric>
#include <random>

namespace trainyard::tuning {
namespace {

using core::FindingKind;
using network::Layer;

Layer Conv3x3(int filters) {
  network::Conv conv{.filters = filters};
  conv.padding.same = true;
  return {conv};
}

// Two convs of these widths, each with a batch norm if asked for and a pool, then the dense layers.
network::Network TwoConvs(int first, int second, bool batch_norm, int hidden) {
  network::Network network{.input = {1, 28, 28}, .classes = 10};
  for (const int filters : {first, second}) {
    network.layers.push_back(Conv3x3(filters));
    if (batch_norm) network.layers.push_back({network::BatchNorm{}});
    network.layers.push_back({network::Relu{}});
    network.layers.push_back({network::Pool{}});
  }
  network.layers.push_back({network::Flatten{}});
  if (hidden > 0) {
    network.layers.push_back({network::Dense{hidden}});
    network.layers.push_back({network::Relu{}});
  }
  network.layers.push_back({network::Dense{10}});
  return network;
}

// A sound setup and what it reaches on kImages images in kEpochs epochs, less some noise.
struct Sound {
  bool batch_norm;
  int hidden;
  network::OptimizerKind optimizer;
  double rate;
  network::ScheduleKind schedule;
  double target;
};

constexpr int kEpochs = 6;
constexpr int kBatch = 128;
constexpr int64_t kTrainImages = 10'000;

Sound SoundOf(const std::string& name) {
  using network::OptimizerKind;
  using network::ScheduleKind;
  if (name == "batch_norm") {
    return {true, 0, OptimizerKind::kSgd, 0.1, ScheduleKind::kOneCycle, 0.885};
  }
  if (name == "plain") {
    return {false, 64, OptimizerKind::kSgd, 0.03, ScheduleKind::kCosine, 0.85};
  }
  if (name == "adamw") {
    return {false, 64, OptimizerKind::kAdamW, 0.002, ScheduleKind::kConstant, 0.855};
  }
  throw kernels::Error("setup: found \"" + name + "\", expected small, batch_norm, plain or adamw");
}

network::Configuration Configure(const Sound& sound, int first, int second) {
  network::Configuration made{.network = TwoConvs(first, second, sound.batch_norm, sound.hidden)};
  made.training.epochs = kEpochs;
  made.training.batch_size = kBatch;
  made.training.optimizer.kind = sound.optimizer;
  made.training.optimizer.learning_rate = sound.rate;
  made.training.schedule.kind = sound.schedule;
  return made;
}

}  // namespace

network::Configuration Setup(const std::string& name) {
  if (name != "small") return Configure(SoundOf(name), 16, 32);
  network::Configuration small{.network = TwoConvs(4, 8, /*batch_norm=*/true, /*hidden=*/0)};
  small.training.epochs = 2;
  small.training.optimizer.learning_rate = 0.1;
  small.training.schedule.kind = network::ScheduleKind::kOneCycle;
  return small;
}

std::vector<core::Dimension> SpaceAround() {
  return {{.path = "train.lr", .min = 0.01, .max = 0.5, .log = true},
          {.path = "network.width", .choices = {"1", "2", "4", "8"}},
          {.path = "network.depth", .min = 0, .max = 3, .step = 1},
          {.path = "train.epochs", .min = 2, .max = 10, .step = 1},
          {.path = "train.batch_size", .choices = {"64", "128", "256"}}};
}

std::vector<Plant> Plants(const std::string& setup, uint64_t seed) {
  const Sound sound = SoundOf(setup);
  network::Configuration good = Setup(setup);
  good.training.seed = seed;
  const auto plant = [&](std::string name, std::set<FindingKind> right) {
    return Plant{std::move(name), std::move(right), good, sound.target, kTrainImages};
  };
  Plant small = plant("too small", {FindingKind::kUnderfit});
  small.configuration.network = TwoConvs(1, 2, sound.batch_norm, sound.hidden > 0 ? 4 : 0);
  small.configuration.training.epochs = 2 * kEpochs;
  Plant large = plant("too large, unregularised", {FindingKind::kOverfit});
  large.configuration.network = TwoConvs(64, 128, sound.batch_norm, 2 * sound.hidden);
  large.configuration.training.optimizer.weight_decay = 0;
  large.configuration.training.epochs = 2 * kEpochs;
  large.train_images = 1'500;
  // A loss that is no number any more is a rate too high, seen later.
  Plant high = plant("rate 10x too high", {FindingKind::kRateTooHigh, FindingKind::kDiverged});
  high.configuration.training.optimizer.learning_rate *= 10;
  Plant low = plant("rate 10x too low", {FindingKind::kRateTooLow});
  low.configuration.training.optimizer.learning_rate /= 10;
  Plant few = plant("too few epochs", {FindingKind::kStillImproving});
  few.configuration.training.epochs = 2;
  Plant shuffled = plant("shuffled labels", {FindingKind::kLabelNoise});
  shuffled.shuffled = 0.2;
  const Plant sound_one = plant("nothing", {FindingKind::kNone});
  return {sound_one, small, large, high, low, few, shuffled};
}

engine::Dataset Part(const engine::Dataset& all, int64_t count, double shuffled, uint64_t seed) {
  const kernels::ImageSet images = all.images();
  const auto kept = static_cast<size_t>(std::min(count, images.count()));
  const auto pixels = images.pixels.first(kept * static_cast<size_t>(images.shape.size()));
  std::vector<int32_t> labels(images.labels.begin(),
                              images.labels.begin() + static_cast<int64_t>(kept));
  std::vector<size_t> order(kept);
  std::iota(order.begin(), order.end(), size_t{0});
  std::mt19937_64 random(seed);
  std::shuffle(order.begin(), order.end(), random);
  order.resize(static_cast<size_t>(static_cast<double>(kept) * shuffled));
  for (size_t i = 1; i < order.size(); ++i) std::swap(labels[order[i - 1]], labels[order[i]]);
  return engine::Dataset(images.shape, {pixels.begin(), pixels.end()}, std::move(labels));
}

}  // namespace trainyard::tuning
