// Training teaches: a small network gets nearly all of an easy task right, and does well on real
// pictures within one epoch.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "tests/worker/engine/support/examples.h"
#include "worker/engine/trainer.h"

namespace trainyard::engine {
namespace {

class LearningTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Backends, LearningTest, ::testing::Values(TRAINYARD_BACKENDS),
                         [](const auto& info) { return info.param; });

TEST_P(LearningTest, SmallNetworkLearnsPatternsWithEitherOptimizer) {
  const kernels::ValueShape shape{1, 12, 12};
  const Dataset train = MakePatterns(400, shape, 5, 85, 1);
  const Dataset validation = MakePatterns(200, shape, 5, 85, 2);
  for (auto kind : {network::OptimizerKind::kSgd, network::OptimizerKind::kAdamW}) {
    network::Configuration configuration;
    configuration.network = PlainNetwork({1, 12, 12}, 5);
    configuration.training.batch_size = 32;
    configuration.training.epochs = 6;
    configuration.training.optimizer.kind = kind;
    const bool sgd = kind == network::OptimizerKind::kSgd;
    configuration.training.optimizer.learning_rate = sgd ? 0.03 : 0.01;
    TrainerOptions options;
    options.backend.name = GetParam();
    Trainer trainer(configuration, {&train, &validation, 0, 1}, options);
    EXPECT_LT(trainer.EvaluateValidation().accuracy, 0.6) << "there is nothing to learn";
    Recorder recorder;
    ASSERT_EQ(trainer.Run(recorder), Outcome::kCompleted);
    EXPECT_GT(recorder.epochs.back().val_accuracy, 0.97) << (sgd ? "SGD" : "AdamW");
    EXPECT_LT(recorder.epochs.back().train_loss, recorder.epochs.front().train_loss);
  }
}

TEST(LearningFashionMnistTest, OneEpochGetsFourOfFiveRight) {
  const std::string folder = "/usr/share/datasets/fashion-mnist/";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not here";
  const std::string backends[] = {TRAINYARD_BACKENDS};
  if (std::count(std::begin(backends), std::end(backends), "cpu") == 0) {
    GTEST_SKIP() << "this build has no cpu backend; plain loops would take very long";
  }
  const Dataset train =
      ReadIdx(folder + "train-images-idx3-ubyte.gz", folder + "train-labels-idx1-ubyte.gz", 10);
  EXPECT_EQ(train.count(), 60000);
  network::Configuration configuration;
  network::Network& network = configuration.network;
  network = {{1, 28, 28}, 10, {}};
  for (int filters : {8, 16}) {
    network.layers.push_back(Convolution(filters, 3));
    network.layers.push_back({network::BatchNorm{}});
    network.layers.push_back({network::Relu{}});
    network.layers.push_back({network::Pool{}});
  }
  network.layers.push_back({network::Flatten{}});
  network.layers.push_back({network::Dense{10}});
  configuration.training.epochs = 1;
  configuration.training.schedule.kind = network::ScheduleKind::kOneCycle;
  Trainer trainer(configuration, {&train, nullptr, 0.1, 1}, TrainerOptions{});
  Recorder recorder;
  ASSERT_EQ(trainer.Run(recorder), Outcome::kCompleted);
  EXPECT_EQ(trainer.EvaluateValidation().count, 6000);
  EXPECT_GT(recorder.epochs.back().val_accuracy, 0.80);
}

}  // namespace
}  // namespace trainyard::engine
