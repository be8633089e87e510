// The logits of given weights are those of the trainer; wrong files end in one sentence.
#include "worker/logits/logits.h"

#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "proto/spec_convert.h"
#include "tests/worker/engine/support/examples.h"
#include "worker/engine/checkpoint.h"

namespace trainyard::logits {
namespace {

using engine::ThrowsNaming;

constexpr int kImages = 20;  // more than a batch

class LogitsTest : public ::testing::Test {
 protected:
  LogitsTest() {
    configuration_.network = engine::EverythingNetwork({3, 8, 8}, 4);
    configuration_.training.epochs = 1;
    configuration_.training.augmentation.normalise = false;
    engine::Trainer trainer(configuration_, {&images_, nullptr, 0.2, 1},
                            {.backend = {"reference", 1}});
    engine::Recorder recorder;
    trainer.Run(recorder);
    weights_ = engine::SerializeModel(recorder.checkpoints.back(), {});
    expected_ = trainer.Logits(images_);
    const auto pixels = images_.images().pixels;
    pixels_.assign(reinterpret_cast<const char*>(pixels.data()), pixels.size());
  }

  const engine::Dataset images_ = engine::MakePatterns(kImages, {3, 8, 8}, 4, 40, 1);
  network::Configuration configuration_;
  std::string weights_, pixels_;
  std::vector<float> expected_;
};

TEST_F(LogitsTest, AreThoseOfTheTrainer) {
  std::string json;
  ASSERT_TRUE(
      google::protobuf::util::MessageToJsonString(ToProto(configuration_.network), &json).ok());
  const network::Network network = ParseNetwork(json);
  EXPECT_EQ(network, configuration_.network);
  EXPECT_EQ(ComputeLogits(network, weights_, pixels_, "reference"), expected_);
  const std::vector<float> on_cpu = ComputeLogits(network, weights_, pixels_, "cpu");
  ASSERT_EQ(on_cpu.size(), expected_.size());
  for (size_t i = 0; i < on_cpu.size(); ++i) EXPECT_NEAR(on_cpu[i], expected_[i], 1e-4) << i;
}

TEST_F(LogitsTest, WhatIsWrongIsNamed) {
  const auto compute = [&](const network::Network& network, const std::string& pixels) {
    return [this, network, pixels] { ComputeLogits(network, weights_, pixels, "reference"); };
  };
  EXPECT_TRUE(ThrowsNaming(compute(configuration_.network, pixels_ + "x"), {"pixels", "192"}));
  EXPECT_TRUE(ThrowsNaming(compute(configuration_.network, ""), {"pixels", "0 bytes"}));
  network::Network wrong = configuration_.network;
  wrong.classes = 5;
  EXPECT_TRUE(ThrowsNaming(compute(wrong, pixels_), {"network.layers", "expected 5"}));
  EXPECT_TRUE(ThrowsNaming([] { ParseNetwork("{\"layers\": 3}"); }, {"network"}));
}

TEST(LogitsProgramTest, AFileThatIsNotThereEndsWithAMessage) {
  const std::string command =
      TRAINYARD_LOGITS " --network /nowhere --weights /nowhere --pixels /nowhere --logits /nowhere";
  EXPECT_EQ(WEXITSTATUS(std::system((command + " 2> /dev/null").c_str())), 1);
  EXPECT_EQ(WEXITSTATUS(std::system(TRAINYARD_LOGITS " --unknown > /dev/null 2>&1")), 2);
}

}  // namespace
}  // namespace trainyard::logits
