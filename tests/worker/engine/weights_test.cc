// Weights that others made are taken as they are, or refused by the tensor that does not fit.
#include "worker/engine/weights.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <map>

#include "tests/worker/engine/support/examples.h"
#include "worker/engine/checkpoint.h"
#include "worker/engine/initialise.h"
#include "worker/engine/safetensors.h"

namespace trainyard::engine {
namespace {

class WeightsTest : public ::testing::Test {
 protected:
  WeightsTest()
      : parameters_(network::Parameters(EverythingNetwork({3, 8, 8}, 4))),
        state_(InitialState(parameters_, network::Initialisation::kHe, network::OptimizerKind::kSgd,
                            1)) {}

  // A model as the engine writes it.
  std::string Model() const {
    Checkpoint checkpoint;
    checkpoint.parameters = parameters_;
    checkpoint.state = state_;
    return SerializeModel(checkpoint, {});
  }

  // The same tensors as other libraries write them: no metadata, in another order. `change` may
  // alter names, shapes and values before.
  struct Tensor {
    std::vector<int64_t> dims;
    std::vector<float> values;
  };
  using Tensors = std::map<std::string, Tensor>;
  std::string Foreign(const std::function<void(Tensors&)>& change) const {
    const std::string model = Model();
    Tensors tensors;
    for (const TensorEntry& entry : ParseSafetensors(model).tensors) {
      Tensor& tensor = tensors[entry.name];
      tensor.dims = entry.dims;
      AppendValues(model, entry, &tensor.values);
    }
    change(tensors);
    std::string header, data;
    for (const auto& [name, tensor] : tensors) {
      header += (header.empty() ? "{\"" : ",\"") + name + R"(":{"dtype":"F32","shape":[)";
      for (size_t i = 0; i < tensor.dims.size(); ++i) {
        header += (i > 0 ? "," : "") + std::to_string(tensor.dims[i]);
      }
      header += R"(],"data_offsets":[)" + std::to_string(data.size()) + ",";
      data.append(reinterpret_cast<const char*>(tensor.values.data()),
                  tensor.values.size() * sizeof(float));
      header += std::to_string(data.size()) + "]}";
    }
    header += "}";
    const uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
  }

  ::testing::AssertionResult Refused(const std::function<void(Tensors&)>& change,
                                     const std::vector<std::string>& words) const {
    return ThrowsNaming([&] { ParseWeights(Foreign(change), parameters_); }, words);
  }

  const std::vector<network::Parameter> parameters_;
  const kernels::ProgramState state_;
};

TEST_F(WeightsTest, AModelOfOursAndOneOfAnotherLibraryGiveTheSame) {
  for (const std::string& file : {Model(), Foreign([](Tensors&) {})}) {
    const kernels::ProgramState found = ParseWeights(file, parameters_);
    EXPECT_EQ(found.parameters, state_.parameters);
    EXPECT_EQ(found.statistics, state_.statistics);
    EXPECT_TRUE(found.moment1.empty());
  }
}

TEST_F(WeightsTest, WhatDoesNotFitIsNamed) {
  EXPECT_TRUE(Refused([](Tensors& t) { t.erase("layers.0.weight"); },
                      {"\"layers.0.weight\"", "found none", "(8, 3, 3, 3)"}));
  EXPECT_TRUE(Refused(
      [](Tensors& t) {
        t["layers.99.bias"] = {{1}, {0}};
      },
      {"\"layers.99.bias\"", "the network has none"}));
  EXPECT_TRUE(Refused(
      [](Tensors& t) {
        t["layers.0.weight"].dims = {3, 8, 3, 3};
      },
      {"\"layers.0.weight\"", "(3, 8, 3, 3)", "(8, 3, 3, 3)"}));
  EXPECT_TRUE(Refused(
      [](Tensors& t) { t["layers.0.weight"].values[5] = std::numeric_limits<float>::quiet_NaN(); },
      {"\"layers.0.weight\"", "value 5", "nan"}));
  EXPECT_TRUE(Refused([](Tensors& t) { t["layers.1.running_var"].values[0] = -1; },
                      {"\"layers.1.running_var\"", "at least 0"}));
}

TEST_F(WeightsTest, ADamagedFileOfOursIsNoticed) {
  std::string model = Model();
  model.back() ^= 1;
  EXPECT_TRUE(ThrowsNaming([&] { ParseWeights(model, parameters_); }, {"checksum"}));
  for (const std::string& bytes : {std::string(), std::string("not safetensors at all")}) {
    EXPECT_THROW(ParseWeights(bytes, parameters_), kernels::Error);
  }
}

}  // namespace
}  // namespace trainyard::engine
