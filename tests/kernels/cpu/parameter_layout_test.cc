// Every float of every tensor lies where the header says, everything else is zero, and what comes
// back is what went in.
#include "kernels/cpu/parameter_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/backend.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::cpu {
namespace {

using testing::GraphMaker;
using ::testing::HasSubstr;
using testing::Pad;
using ::testing::ThrowsMessage;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// 1, 2, 3, ...: told apart from each other and from padding.
std::vector<float> Counted(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

std::vector<float> Packed(const ParameterLayout& layout, const std::vector<float>& canonical) {
  std::vector<float> packed(static_cast<size_t>(layout.parameter_floats()), kNaN);
  layout.PackParameters(canonical, packed.data());
  return packed;
}

// Where element i of a tensor is expected, by its place in the canonical one.
using IndexOf = std::function<int64_t(int64_t)>;

// The slice at `canonical` has its elements where `index_of` says, and zeros elsewhere.
void ExpectForm(const ParameterLayout& layout, int64_t canonical, int64_t packed_size,
                const IndexOf& index_of) {
  const auto& slices = layout.slices();
  const auto slice =
      std::find_if(slices.begin(), slices.end(), [&](const ParameterLayout::Slice& s) {
        return s.canonical == canonical && s.canonical_size > 0;
      });
  ASSERT_NE(slice, slices.end());
  EXPECT_EQ(slice->packed, layout.Parameter(canonical));
  ASSERT_EQ(slice->packed_size, packed_size);
  const int64_t count = slices.back().canonical + slices.back().canonical_size;
  const std::vector<float> values = Counted(count), packed = Packed(layout, values);
  std::vector<float> expected(static_cast<size_t>(packed_size), 0.0f);
  for (int64_t i = 0; i < slice->canonical_size; ++i) {
    expected[index_of(i)] = values[canonical + i];
  }
  for (int64_t i = 0; i < packed_size; ++i) {
    ASSERT_EQ(packed[slice->packed + i], expected[i]) << "float " << i;
  }
}

void ExpectVector(const ParameterLayout& layout, int64_t canonical, int64_t size) {
  ExpectForm(layout, canonical, (size + 15) / 16 * 16, [](int64_t i) { return i; });
}

// (panel, tap, padded input, output) of canonical (output, input, tap)
IndexOf Taps(int64_t inputs, int64_t taps) {
  return [=](int64_t i) {
    const int64_t tap = i % taps, input = i / taps % inputs, output = i / taps / inputs;
    const int64_t padded = (inputs + 15) / 16 * 16;
    return ((output / 16 * taps + tap) * padded + input) * 16 + output % 16;
  };
}

TEST(ParameterLayout, DenseConvolutionsArePanelsOfTapsOfInputs) {
  GraphMaker maker({5, 8, 8}, 2, 7);
  const int x = maker.Conv(0, 37, 3, 2, 1, 1, Pad{}, 1, true);
  maker.Linear(maker.GlobalAvgPool(x), 7);
  const ParameterLayout layout(maker.graph());
  const ParameterOffsets conv = maker.graph().ops[0].offsets;
  ExpectForm(layout, conv.weight, 48 * 6 * 16, Taps(5, 6));
  ExpectVector(layout, conv.bias, 37);
}

TEST(ParameterLayout, FirstLayersOfPlainInputsAreNotPadded) {
  GraphMaker maker({3, 8, 8}, 2, 7);
  const int a = maker.Conv(0, 20, 3, 3, 1, 1, {1, 1, 1, 1}, 1, false);
  const int b = maker.Conv(0, 20, 1, 1, 1, 1, Pad{}, 1, false);
  const int c = maker.Conv(maker.Add(a, b), 20, 3, 3, 1, 1, Pad{}, 1, false);
  maker.Linear(maker.GlobalAvgPool(c), 7);
  ASSERT_EQ(InputFormOf(maker.graph()), InputForm::kPlain);
  const ParameterLayout layout(maker.graph());
  ExpectForm(layout, maker.graph().ops[0].offsets.weight, 32 * 3 * 9, [](int64_t i) {
    const int64_t output = i / 27;
    return (output / 16 * 27 + i % 27) * 16 + output % 16;
  });
  ExpectForm(layout, maker.graph().ops[3].offsets.weight, 32 * 9 * 32, Taps(20, 9));
}

TEST(ParameterLayout, TheInputIsPlainOnlyForDenseConvolutionsOverFewChannels) {
  const auto reads_plain = [](int channels, int groups, bool pooled_too) {
    GraphMaker maker({channels, 8, 8}, 2, 3);
    int x = maker.Conv(0, 2 * channels, 1, 1, 2, 2, Pad{}, groups, true);
    if (pooled_too) {
      const int pooled = maker.Pool(0, OpKind::kMaxPool, 2, 2, 2, 2, Pad{});
      x = maker.Add(x, maker.Conv(pooled, 2 * channels, 1, 1, 1, 1, Pad{}, 1, true));
    }
    maker.Linear(maker.GlobalAvgPool(x), 3);
    return InputFormOf(maker.graph()) == InputForm::kPlain;
  };
  EXPECT_TRUE(reads_plain(1, 1, false));
  EXPECT_TRUE(reads_plain(4, 1, false));
  EXPECT_FALSE(reads_plain(5, 1, false));
  EXPECT_FALSE(reads_plain(4, 2, false));
  EXPECT_FALSE(reads_plain(4, 1, true));
}

TEST(ParameterLayout, AWeightForEachOutputIsStillAPanelAndNoVector) {
  GraphMaker maker({2, 3, 3}, 2, 20);
  maker.Linear(maker.Relu(maker.Linear(0, 1)), 20, false);
  const ParameterLayout layout(maker.graph());
  ExpectForm(layout, maker.graph().ops[2].offsets.weight, 2 * 16 * 16,
             [](int64_t i) { return i / 16 * 256 + i % 16; });
}

TEST(ParameterLayout, LinearLayersOnTheImageReadItAsOneVector) {
  GraphMaker maker({3, 5, 7}, 2, 20);
  maker.Linear(0, 20);
  const ParameterLayout layout(maker.graph());
  ASSERT_EQ(layout.input_form(), InputForm::kFlat);
  ExpectForm(layout, maker.graph().ops[0].offsets.weight, 32 * 112, [](int64_t i) {
    const int64_t output = i / 105;
    return output / 16 * 112 * 16 + i % 105 * 16 + output % 16;
  });
}

TEST(ParameterLayout, AnImageThatLayersOfSeveralKindsReadIsChannelsLast) {
  GraphMaker maker({3, 5, 7}, 2, 4);
  maker.Linear(maker.Add(maker.Linear(0, 8), maker.GlobalAvgPool(maker.Conv3x3(0, 8))), 4);
  EXPECT_EQ(ParameterLayout(maker.graph()).input_form(), InputForm::kChannelsLast);
}

TEST(ParameterLayout, DepthwiseConvolutionsAreTapsOfChannels) {
  for (int channels : {2, 16, 35}) {
    GraphMaker maker({channels, 8, 8}, 2, 7);
    const int x = maker.Conv(0, channels, 3, 3, 1, 1, Pad{}, channels, true);
    maker.Linear(maker.GlobalAvgPool(x), 7);
    const int64_t padded = (channels + 15) / 16 * 16;
    ExpectForm(ParameterLayout(maker.graph()), maker.graph().ops[0].offsets.weight, 9 * padded,
               [&](int64_t i) { return i % 9 * padded + i / 9; });
  }
}

TEST(ParameterLayout, OtherGroupsStayCanonical) {
  GraphMaker maker({6, 8, 8}, 2, 7);
  int x = maker.Conv(0, 12, 3, 3, 1, 1, Pad{}, 6, true);  // two outputs a channel
  x = maker.Conv(x, 9, 3, 3, 1, 1, Pad{}, 3, true);
  maker.Linear(maker.GlobalAvgPool(x), 7);
  const ParameterLayout layout(maker.graph());
  ExpectVector(layout, maker.graph().ops[0].offsets.weight, 12 * 9);
  ExpectVector(layout, maker.graph().ops[1].offsets.weight, 9 * 4 * 9);
}

TEST(ParameterLayout, LinearLayersReadPixelsOfPaddedChannels) {
  GraphMaker maker({20, 5, 3}, 2, 7);
  const int hidden = maker.Linear(maker.Relu(0), 18);
  maker.Linear(hidden, 7);
  const ParameterLayout layout(maker.graph());
  // Canonical inputs count (channel, row, column): taps are pixels.
  ExpectForm(layout, maker.graph().ops[1].offsets.weight, 32 * 15 * 32, Taps(20, 15));
  ExpectForm(layout, maker.graph().ops[2].offsets.weight, 16 * 32, Taps(18, 1));
  ExpectVector(layout, maker.graph().ops[2].offsets.bias, 7);
}

TEST(ParameterLayout, SlicesThatNoOpReadsAreVectors) {
  GraphMaker maker({20, 1, 1}, 2, 7);
  maker.Linear(0, 7, false);
  Graph graph = maker.graph();
  graph.slices = {{0, 140, true}, {140, 0, false}, {140, 21, true}, {161, 7, false}};
  graph.parameter_count = 168;
  graph.ops[0].offsets.bias = 161;
  const ParameterLayout layout(graph);
  ExpectVector(layout, 140, 21);
  ExpectVector(layout, 161, 7);
  EXPECT_EQ(layout.parameter_floats(), 16 * 32 + 32 + 16);
  EXPECT_EQ(layout.Parameter(-1), -1);
  EXPECT_THROW(layout.Parameter(150), Error);
  EXPECT_TRUE(layout.slices()[0].decays);
  EXPECT_TRUE(layout.slices()[2].decays);
  EXPECT_FALSE(layout.slices()[3].decays);
}

TEST(ParameterLayout, StatisticsAreVectorsWhereverTheyLie) {
  GraphMaker maker({20, 4, 4}, 2, 7);
  maker.Linear(maker.GlobalAvgPool(maker.BatchNorm(0)), 7);
  Graph graph = maker.graph();
  graph.ops[0].offsets.running_var = 3;  // before the mean, with gaps around
  graph.ops[0].offsets.running_mean = 25;
  graph.statistic_count = 50;
  const ParameterLayout layout(graph);
  EXPECT_EQ(layout.statistic_floats(), 16 + 32 + 16 + 32 + 16);
  EXPECT_EQ(layout.Statistic(3), 16);
  EXPECT_EQ(layout.Statistic(25), 64);
  const std::vector<float> values = Counted(50);
  std::vector<float> packed(static_cast<size_t>(layout.statistic_floats()), kNaN);
  layout.PackStatistics(values, packed.data());
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(packed[16 + i], i < 20 ? values[3 + i] : 0);
    EXPECT_EQ(packed[64 + i], i < 20 ? values[25 + i] : 0);
  }
  std::vector<float> back(50, kNaN);
  layout.UnpackStatistics(packed.data(), back);
  EXPECT_EQ(back, values);
}

TEST(ParameterLayout, WhatGoesInComesOut) {
  for (int seed = 0; seed < 200; ++seed) {
    const Graph graph = testing::RandomGraph(seed);
    const ParameterLayout layout(graph);
    const std::vector<float> values = Counted(graph.parameter_count);
    const std::vector<float> packed = Packed(layout, values);
    double sum = 0, packed_sum = 0;
    for (float v : values) sum += v;
    for (float v : packed) packed_sum += v;
    EXPECT_EQ(packed_sum, sum) << "seed " << seed;  // whole numbers: padding adds nothing
    std::vector<float> back(values.size(), kNaN);
    layout.UnpackParameters(packed.data(), back);
    ASSERT_EQ(back, values) << "seed " << seed;
  }
}

TEST(ParameterLayout, SaysWhichOpsTensorIsNoSliceOfItsOwn) {
  GraphMaker maker({20, 4, 4}, 2, 7);
  maker.Linear(maker.GlobalAvgPool(maker.BatchNorm(0)), 7);
  const auto refused = [&](const std::function<void(Graph&)>& change) {
    return [&maker, change] {
      Graph graph = maker.graph();
      change(graph);
      ParameterLayout layout(graph);
    };
  };
  EXPECT_THAT(refused([](Graph& g) { g.ops[0].offsets.bias = g.ops[0].offsets.weight; }),
              ThrowsMessage<Error>(HasSubstr("layers.0 (batch_norm): its weight at 0 is layers.0 "
                                             "(batch_norm)'s bias too")));
  EXPECT_THAT(refused([](Graph& g) { g.ops[0].offsets.weight = 1; }),
              ThrowsMessage<Error>(HasSubstr("its weight at 1 lies within another tensor")));
  EXPECT_THAT(refused([](Graph& g) {
                g.slices[0].size += g.slices[1].size;
                g.slices.erase(g.slices.begin() + 1);
              }),
              ThrowsMessage<Error>(HasSubstr("has 20 floats, the slice there 40")));
  EXPECT_THAT(refused([](Graph& g) { g.ops[0].offsets.running_var = 19; }),
              ThrowsMessage<Error>(HasSubstr("lies within another tensor")));
}

}  // namespace
}  // namespace trainyard::kernels::cpu
