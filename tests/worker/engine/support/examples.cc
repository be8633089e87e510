#include "tests/worker/engine/support/examples.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "kernels/philox.h"

namespace trainyard::engine {

Dataset MakePatterns(int count, kernels::ValueShape shape, int classes, int noise, uint64_t seed) {
  const auto size = static_cast<uint64_t>(shape.size());
  std::vector<uint8_t> pixels;
  std::vector<int32_t> labels;
  for (int i = 0; i < count; ++i) {
    const int label = i % classes;
    labels.push_back(label);
    for (uint64_t p = 0; p < size; ++p) {
      // Patterns are those of seed 0, so that two sets of different seeds show the same classes.
      const int bright = kernels::RandomWord({0, 0, label, {}}, p) & 1 ? 170 : 85;
      const int around = static_cast<int>(kernels::RandomBelow(
                             kernels::RandomWord({seed, i, 1000, {}}, p), 2 * noise + 1)) -
                         noise;
      pixels.push_back(static_cast<uint8_t>(std::clamp(bright + around, 0, 255)));
    }
  }
  return Dataset(shape, std::move(pixels), std::move(labels));
}

network::Layer Convolution(int filters, int kernel, int stride, bool bias) {
  network::Conv conv;
  conv.filters = filters;
  conv.kernel = {kernel, kernel};
  conv.stride = {stride, stride};
  conv.padding.same = true;
  conv.bias = bias;
  return {conv};
}

network::Network EverythingNetwork(network::Shape input, int classes) {
  network::Residual residual;
  residual.body = {Convolution(12, 3, 2, false),
                   {network::BatchNorm{}},
                   {network::Relu{0.1}},
                   Convolution(12, 3, 1, false),
                   {network::BatchNorm{}}};
  residual.shortcut = {Convolution(12, 1, 2, false), {network::BatchNorm{}}};
  return {input,
          classes,
          {Convolution(8, 3),
           {network::BatchNorm{}},
           {network::Relu{}},
           {network::Pool{}},
           {network::Dropout{0.2}},
           {residual},
           {network::Relu{}},
           {network::Flatten{}},
           {network::Dense{16}},
           {network::Relu{}},
           {network::Dropout{0.3}},
           {network::Dense{classes}}}};
}

network::Network PlainNetwork(network::Shape input, int classes) {
  return {input,
          classes,
          {Convolution(4, 3),
           {network::Relu{}},
           {network::Pool{}},
           {network::Flatten{}},
           {network::Dense{classes}}}};
}

network::Configuration EverythingConfiguration(network::OptimizerKind optimizer) {
  network::Configuration configuration;
  configuration.network = EverythingNetwork({1, 12, 12}, 5);
  network::Training& training = configuration.training;
  training.epochs = 3;
  training.batch_size = 16;
  training.optimizer.kind = optimizer;
  training.optimizer.learning_rate = optimizer == network::OptimizerKind::kSgd ? 0.05 : 0.005;
  training.optimizer.clip_norm = 5;
  training.schedule.kind = network::ScheduleKind::kOneCycle;
  training.augmentation.flip = true;
  training.augmentation.shift = 2;
  training.augmentation.cutout = 4;
  training.label_smoothing = 0.1;
  training.seed = 0x123456789ABCDEF0;
  return configuration;
}

std::string Reproducible(const EpochMetrics& metrics) {
  std::string text =
      "epoch " + std::to_string(metrics.epoch) + " step " + std::to_string(metrics.step);
  for (double value :
       {metrics.train_loss, metrics.train_accuracy, metrics.val_loss, metrics.val_accuracy,
        metrics.learning_rate, metrics.gradient_norm, metrics.update_ratio, metrics.dead_units}) {
    char digits[64];
    text += " " + std::string(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
  }
  return text;
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = ::testing::TempDir() + "/trainyard-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) std::abort();
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string ReadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  EXPECT_TRUE(file.good()) << path;
  return bytes.str();
}

void WriteBytes(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  file.close();
  ASSERT_TRUE(file.good()) << path;
}

}  // namespace trainyard::engine
