// The exported model computes what ours does, on images as they are: the logits of all 10,000 test
// images of Fashion-MNIST in onnxruntime against ours (onnx_check.py). Skipped where the data or
// the Python environment (TRAINYARD_VENV, else build/venv) are missing.
#include "worker/agent/export_onnx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include "network/shapes.h"
#include "tests/worker/agent/fake_gateway.h"
#include "worker/engine/dataset.h"
#include "worker/engine/trainer.h"

namespace trainyard::agent {
namespace {

using network::BatchNorm;
using network::Conv;
using network::Dense;
using network::Dropout;
using network::Flatten;
using network::GlobalAvgPool;
using network::Layer;
using network::Pool;
using network::PoolKind;
using network::Relu;
using network::Residual;

constexpr char kFashion[] = "/usr/share/datasets/fashion-mnist/";
constexpr int kNoModules = 77;  // onnx_check.py's exit code

struct Case {
  std::string name;
  std::vector<Layer> layers;
  bool normalise = true;
};

std::vector<Case> Cases() {
  return {
      {"classic",
       {{Conv{.filters = 8}},
        {Relu{}},
        {Conv{.filters = 16, .bias = false}},
        {BatchNorm{}},
        {Relu{}},
        {Pool{}},
        {Dropout{0.25}},
        {Flatten{}},
        {Dense{32}},
        {Relu{}},
        {Dropout{0.5}},
        {Dense{10}}}},
      {"residual",
       {{Conv{.filters = 8, .stride = {2, 2}, .padding = {.same = true}}},
        {BatchNorm{.epsilon = 1e-3}},
        {Relu{0.1}},
        {Residual{
            {{Conv{.filters = 16, .stride = {2, 2}, .padding = {.same = true}, .groups = 4}},
             {BatchNorm{}},
             {Relu{}},
             {Residual{{{Conv{.filters = 16, .padding = {.same = true}, .groups = 16}}}, {}}}},
            {{Conv{.filters = 16, .kernel = {1, 1}, .stride = {2, 2}, .bias = false}}}}},
        {Relu{}},
        {GlobalAvgPool{}},
        {Dense{10}}}},
      {"asymmetric",
       {{Conv{.filters = 6, .kernel = {3, 5}, .stride = {2, 1}, .padding = {.top = 2, .left = 1}}},
        {Relu{}},
        {Pool{PoolKind::kAverage, {3, 3}, {2, 2}, {.bottom = 2, .right = 1}}},
        {Conv{
            .filters = 8, .padding = {.top = 1, .bottom = 0, .left = 2, .right = 1}, .groups = 2}},
        {Pool{PoolKind::kMax, {3, 2}, {2, 2}, {.same = true}}},
        {Flatten{}},
        {Dense{10, false}}},
       false},
      {"flat",
       {{Pool{PoolKind::kAverage, {4, 4}, {4, 4}}},
        {Flatten{}},
        {Dense{24}},
        {BatchNorm{}},
        {Relu{0.01}},
        {Residual{{{Dense{24}}, {Relu{}}, {Dense{24}}}, {}}},
        {Residual{{{Conv{.filters = 12, .kernel = {1, 1}}}}, {{Dense{12}}}}},
        {Dense{10}}}},
  };
}

network::Configuration ConfigurationOf(const Case& c) {
  network::Configuration configuration;
  configuration.network = {{1, 28, 28}, 10, c.layers};
  configuration.training.epochs = 1;
  configuration.training.batch_size = 50;
  configuration.training.augmentation.normalise = c.normalise;
  return configuration;
}

// Keeps the last checkpoint.
struct Keeper : engine::TrainingObserver {
  std::optional<engine::Checkpoint> last;
  void OnCheckpoint(engine::Checkpoint checkpoint) override { last = std::move(checkpoint); }
};

std::string Python() {
  const char* venv = std::getenv("TRAINYARD_VENV");
  const std::string folder =
      venv != nullptr && *venv != '\0' ? venv : TRAINYARD_SOURCE_DIR "/build/venv";
  return folder + "/bin/python";
}

void Write(const std::string& path, const void* data, size_t size) {
  std::ofstream(path, std::ios::binary)
      .write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
}

class ExportOnnxTest : public testing::TestWithParam<Case> {};

TEST_P(ExportOnnxTest, OnnxruntimeGivesOurLogitsOnTheWholeTestSet) {
  if (!std::filesystem::exists(kFashion)) {
    GTEST_SKIP() << kFashion << " is missing: apt-get install dataset-fashion-mnist";
  }
  if (!std::filesystem::exists(Python())) {
    GTEST_SKIP() << Python()
                 << " is missing: python3 -m venv build/venv && build/venv/bin/pip "
                    "install onnxruntime onnx safetensors numpy";
  }
  const network::Configuration configuration = ConfigurationOf(GetParam());
  ASSERT_TRUE(network::CheckNetwork(configuration.network).empty());
  const std::string data(kFashion);
  const engine::Dataset test =
      engine::ReadIdx(data + "t10k-images-idx3-ubyte.gz", data + "t10k-labels-idx1-ubyte.gz", 10);
  ASSERT_EQ(test.count(), 10'000);
  // A little training, so that no weight and no statistic is what it was initialised to.
  const kernels::ImageSet all = test.images();
  const size_t image = 28 * 28;
  const engine::Dataset some({1, 28, 28}, {all.pixels.begin(), all.pixels.begin() + 1'000 * image},
                             {all.labels.begin(), all.labels.begin() + 1'000});
  engine::Trainer trainer(configuration,
                          {.train = &some, .validation = nullptr, .validation_fraction = 0.1}, {});
  Keeper keeper;
  ASSERT_EQ(trainer.Run(keeper), engine::Outcome::kCompleted);
  ASSERT_TRUE(keeper.last.has_value());

  const absl::StatusOr<std::string> onnx =
      ExportOnnx(configuration.network, *keeper.last, "fashion", {{"key", "value"}});
  ASSERT_TRUE(onnx.ok()) << onnx.status();
  const std::vector<float> logits = trainer.Logits(test);
  ASSERT_EQ(logits.size(), 100'000u);
  TestFolder folder;
  const std::string safetensors = engine::SerializeModel(*keeper.last, {{"key", "value"}});
  Write(folder / "model.onnx", onnx->data(), onnx->size());
  Write(folder / "model.safetensors", safetensors.data(), safetensors.size());
  Write(folder / "pixels", all.pixels.data(), all.pixels.size());
  Write(folder / "logits", logits.data(), logits.size() * sizeof(float));
  const std::string command = Python() + " " + TRAINYARD_SOURCE_DIR +
                              "/tests/worker/agent/onnx_check.py " + folder.path() + " 1 28 28 10";
  const int status = std::system(command.c_str());
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoModules) {
    GTEST_SKIP() << Python() << " lacks onnxruntime, onnx, safetensors or numpy";
  }
  EXPECT_EQ(status, 0) << command;
}

INSTANTIATE_TEST_SUITE_P(Networks, ExportOnnxTest, testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

TEST(ExportOnnxModelTest, TakesPixelsAsTheyAreAndSaysSo) {
  const network::Network net{{1, 4, 4}, 2, {{Flatten{}}, {Dense{2}}}};
  engine::Checkpoint checkpoint;
  checkpoint.normalise_mean = {0.5F};
  checkpoint.normalise_inverse_std = {2.0F};
  checkpoint.parameters = network::Parameters(net);
  checkpoint.state.parameters.assign(34, 0.25F);
  const absl::StatusOr<std::string> bytes =
      ExportOnnx(net, checkpoint, "tiny", {{"trainyard.job", "7"}});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(*bytes));
  EXPECT_EQ(model.opset_import(0).version(), 13);
  EXPECT_THAT(model.doc_string(), testing::HasSubstr("pixels from 0 to 255"));
  ASSERT_EQ(model.graph().input_size(), 1);
  EXPECT_EQ(model.graph().input(0).name(), "input");
  const auto& shape = model.graph().input(0).type().tensor_type().shape();
  ASSERT_EQ(shape.dim_size(), 4);
  EXPECT_EQ(shape.dim(0).dim_param(), "batch");
  EXPECT_EQ(model.graph().output(0).name(), "logits");
  EXPECT_EQ(model.graph().node(0).op_type(), "Sub");
  EXPECT_EQ(model.graph().node(1).op_type(), "Mul");
  std::map<std::string, std::string> metadata;
  for (const auto& entry : model.metadata_props()) metadata[entry.key()] = entry.value();
  EXPECT_EQ(metadata["trainyard.job"], "7");
  EXPECT_EQ(ExportOnnx(net, checkpoint, "tiny", {{"trainyard.job", "7"}}).value(), *bytes);
}

TEST(ExportOnnxModelTest, ACheckpointThatDoesNotFitIsRefusedByTensor) {
  const network::Network net{{1, 4, 4}, 2, {{Flatten{}}, {Dense{2}}}};
  engine::Checkpoint checkpoint;
  checkpoint.normalise_mean = {0.5F};
  checkpoint.normalise_inverse_std = {2.0F};
  EXPECT_THAT(ExportOnnx(net, checkpoint, "", {}).status().ToString(),
              testing::HasSubstr("layers.1.weight"));
  checkpoint.parameters = network::Parameters(net);
  checkpoint.state.parameters.assign(33, 0.25F);
  EXPECT_THAT(ExportOnnx(net, checkpoint, "", {}).status().ToString(),
              testing::HasSubstr("layers.1.bias"));
  checkpoint.normalise_mean = {0.5F, 0.5F};
  EXPECT_THAT(ExportOnnx(net, checkpoint, "", {}).status().ToString(),
              testing::HasSubstr("2 channels"));
}

}  // namespace
}  // namespace trainyard::agent
