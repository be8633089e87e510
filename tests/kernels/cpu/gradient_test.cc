// The cpu backend's gradients are the derivatives of its own loss, whatever the reference says:
// central differences along random directions, for every op and every way of convolving.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "tests/kernels/agreement.h"
#include "tests/kernels/cpu/conv_ways.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

// A step, of a slice's root mean square. Parameters are multiples of 2^-16 below 8, so that what is
// shifted by a power of two is exact.
constexpr int kStepBits = 9, kSmoothStepBits = 7, kLeastStepBits = 19;
// The loss is rounded by so much: a mean in double of what was computed in float.
constexpr double kLossNoise = 5e-7;
// ReLUs and windows that change their mind between the two ends bend the loss.
constexpr double kTolerance = 0.05, kSmoothTolerance = 0.01;

struct Network {
  std::string name;
  Graph graph;
  std::string way;  // that one of its convolutions must be computed in; empty: none
};

void PrintTo(const Network& network, std::ostream* to) { *to << network.name; }

bool IsSmooth(const Graph& graph) {
  return std::none_of(graph.ops.begin(), graph.ops.end(), [](const Op& op) {
    return op.kind == OpKind::kRelu || op.kind == OpKind::kMaxPool;
  });
}

// Of a slice.
double Norm(const std::vector<float>& values, const Graph::Slice& slice) {
  double squares = 0;
  for (int64_t i = slice.offset; i < slice.offset + slice.size; ++i) {
    squares += double{values[i]} * values[i];
  }
  return std::sqrt(squares);
}

// How far g.d is from the difference of losses, with each parameter of a slice moved by one step up
// or down at random: no weight is left out, and errors of any of them show.
class Slopes {
 public:
  explicit Slopes(const Graph& graph)
      : program_(MakeBackend({"cpu", 1})->Lower(graph)),
        images_(graph, graph.batch_size, 5),
        indices_(FirstIndices(graph.batch_size)),
        rates_(graph.ops.size(), 0.375f),
        scalars_(StillScalars(rates_)),
        state_(RandomState(graph, 7)),
        smooth_(IsSmooth(graph)),
        gradients_(graph.parameter_count) {
    scalars_.seed = 3;  // and so the masks of dropout
    scalars_.label_smoothing = 0.125f;
    LossAt(state_);
    program_->ReadGradients(gradients_);
  }
  Slopes(const Slopes&) = delete;

  const Program& program() const { return *program_; }

  void Check(const Graph::Slice& slice) {
    const double norm = Norm(gradients_, slice);
    const double size = Norm(state_.parameters, slice) / std::sqrt(slice.size);
    const int bits =
        std::min(kLeastStepBits, (smooth_ ? kSmoothStepBits : kStepBits) - std::ilogb(size));
    const double step = std::ldexp(1.0, -bits);
    const double tolerance = smooth_ ? kSmoothTolerance : kTolerance;
    for (int round = 0; round < 2; ++round) {
      ProgramState up = state_, down = state_;
      double expected = 0;
      for (int64_t i = slice.offset; i < slice.offset + slice.size; ++i) {
        const double sign = random_() % 2 == 0 ? 1 : -1;
        up.parameters[i] += static_cast<float>(sign * step);
        down.parameters[i] -= static_cast<float>(sign * step);
        expected += sign * gradients_[i];
      }
      const double slope = (LossAt(up) - LossAt(down)) / (2 * step);
      EXPECT_NEAR(expected, slope, tolerance * norm + kLossNoise / step)
          << slice.size << " parameters at " << slice.offset << ", gradient's norm " << norm;
    }
  }

 private:
  double LossAt(const ProgramState& state) {
    program_->WriteState(state);
    return program_->TrainStep(images_.set, indices_, scalars_).loss;
  }

  const std::unique_ptr<Program> program_;
  const Images images_;
  const std::vector<int32_t> indices_;
  const std::vector<float> rates_;
  StepScalars scalars_;
  const ProgramState state_;
  const bool smooth_;
  std::vector<float> gradients_;
  std::mt19937 random_{11};
};

class CpuGradient : public ::testing::TestWithParam<Network> {};

TEST_P(CpuGradient, IsTheLosssDerivative) {
  const auto& [name, graph, way] = GetParam();
  SCOPED_TRACE(Describe(graph));
  Slopes slopes(graph);
  bool computed_so = way.empty();
  for (const auto& [op, found] : ConvWays(graph, slopes.program())) computed_so |= found == way;
  EXPECT_TRUE(computed_so) << "no convolution is computed by " << way;
  for (const Graph::Slice& slice : graph.slices) slopes.Check(slice);
}

// Of a ReLU: far enough from 1 for a wrong sign to show, and near enough for the loss to be smooth.
constexpr float kSlope = 0.75f;

using Layers = std::function<int(GraphMaker&, int)>;

// Between a first layer, so that the gradient of what goes in is seen in its weights, and a linear
// one.
Graph Between(ValueShape input, int filters, const Layers& layers) {
  GraphMaker maker(input, 6, 5);
  maker.Linear(layers(maker, maker.Conv3x3(0, filters)), 5);
  return maker.graph();
}

std::vector<Network> Convolutions() {
  struct Case {
    std::string name, way;
    ValueShape input;
    int channels, filters, kernel, stride;
    Pad pad;
    int groups;
  };
  const std::vector<Case> cases = {
      {"Winograd", "winograd 4x4", {3, 9, 7}, 20, 24, 3, 1, {1, 0, 2, 1}, 1},
      {"WinogradOnAPixelOrFour", "winograd 4x4", {2, 2, 2}, 17, 9, 3, 1, {1, 1, 1, 1}, 1},
      {"WinogradBatch", "winograd 4x4 batch", {2, 4, 4}, 256, 256, 3, 1, {1, 1, 1, 1}, 1},
      {"Direct3x3", "direct", {2, 1, 1}, 20, 18, 3, 1, {1, 1, 1, 1}, 1},
      {"Direct3x3Strided", "direct", {3, 9, 8}, 18, 20, 3, 2, {1, 1, 0, 1}, 1},
      {"Direct5x5", "direct", {3, 8, 9}, 10, 18, 5, 1, {2, 2, 2, 2}, 1},
      {"Direct1x1", "direct 1x1", {3, 7, 6}, 18, 33, 1, 1, {}, 1},
      {"Direct1x1Strided", "direct 1x1", {3, 7, 6}, 18, 17, 1, 2, {}, 1},
      {"Groups", "direct groups", {3, 7, 6}, 12, 20, 3, 1, {1, 1, 1, 1}, 4},
      {"GroupsOfOneWithTwoOutputs", "direct groups", {3, 7, 6}, 6, 12, 3, 2, {1, 0, 0, 1}, 6},
      {"Depthwise", "depthwise", {3, 8, 7}, 21, 21, 3, 1, {1, 1, 1, 1}, 21},
      {"DepthwiseStrided", "depthwise", {3, 8, 7}, 18, 18, 5, 2, {2, 2, 2, 2}, 18},
  };
  std::vector<Network> networks;
  for (const Case& c : cases) {
    const auto conv = [&](GraphMaker& maker, int x) {
      return maker.Conv(x, c.filters, c.kernel, c.kernel, c.stride, c.stride, c.pad, c.groups,
                        true);
    };
    networks.push_back({c.name, Between(c.input, c.channels, conv), c.way});
    // With all that is done on the way in and out.
    networks.push_back({c.name + "Fused",
                        Between(c.input, c.channels,
                                [&](GraphMaker& maker, int x) {
                                  x = maker.Relu(maker.BatchNorm(x), kSlope);
                                  x = maker.Dropout(maker.Relu(conv(maker, x), kSlope));
                                  x = maker.BatchNorm(maker.Conv3x3(x, 8));
                                  return maker.Relu(x, kSlope);
                                }),
                        c.way});
  }
  GraphMaker maker({3, 13, 11}, 6, 5);
  const int x = maker.Relu(maker.Conv(0, 18, 5, 5, 2, 2, {2, 1, 0, 3}, 1, true));
  maker.Linear(maker.Pool(x, OpKind::kMaxPool, 2, 2, 2, 2, {}), 5);
  networks.push_back({"First", maker.graph(), "first"});
  return networks;
}

std::vector<Network> OtherOps() {
  std::vector<Network> networks;
  const auto add = [&](const char* name, const Layers& layers) {
    networks.push_back({name, Between({3, 9, 8}, 18, layers), ""});
  };
  add("BatchNorm", [](GraphMaker& maker, int x) { return maker.BatchNorm(x); });
  add("BatchNormOfAPool", [](GraphMaker& maker, int x) {
    x = maker.Pool(x, OpKind::kAvgPool, 2, 2, 1, 1, {});
    return maker.Conv3x3(maker.Relu(maker.BatchNorm(x)), 7);
  });
  add("Relu", [](GraphMaker& maker, int x) { return maker.Relu(x); });
  add("LeakyRelu", [](GraphMaker& maker, int x) { return maker.Relu(x, 0.25f); });
  add("MaxPoolOnTheWay", [](GraphMaker& maker, int x) {
    return maker.Dropout(maker.Pool(maker.Relu(x, kSlope), OpKind::kMaxPool, 2, 2, 2, 2, {}));
  });
  add("MaxPoolWithPaddingAndOverlap", [](GraphMaker& maker, int x) {
    return maker.Pool(x, OpKind::kMaxPool, 3, 2, 2, 1, {1, 1, 0, 1});
  });
  add("AvgPoolWithPaddingAndOverlap", [](GraphMaker& maker, int x) {
    return maker.Pool(x, OpKind::kAvgPool, 3, 2, 2, 1, {1, 1, 0, 1});
  });
  add("GlobalAvgPool", [](GraphMaker& maker, int x) { return maker.GlobalAvgPool(x); });
  add("DropoutAlone", [](GraphMaker& maker, int x) {
    return maker.Dropout(maker.Pool(x, OpKind::kAvgPool, 2, 2, 2, 2, {}));
  });
  add("AddOfTwoBranchesAndOfAValueToItself", [](GraphMaker& maker, int x) {
    const int sum = maker.Relu(maker.Add(maker.BatchNorm(maker.Conv3x3(x, 18)), x));
    return maker.Add(sum, sum);
  });
  add("Linear", [](GraphMaker& maker, int x) {
    x = maker.Dropout(maker.Relu(maker.Linear(x, 70, true)));
    return maker.Linear(maker.BatchNorm(x), 19, false);
  });
  return networks;
}

std::string NameOfNetwork(const ::testing::TestParamInfo<Network>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Convolutions, CpuGradient, ::testing::ValuesIn(Convolutions()),
                         NameOfNetwork);
INSTANTIATE_TEST_SUITE_P(Ops, CpuGradient, ::testing::ValuesIn(OtherOps()), NameOfNetwork);

}  // namespace
}  // namespace trainyard::kernels::testing
