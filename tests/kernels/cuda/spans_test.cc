// The flat spans go to the device's order and back without a bit lost, and every tensor is where
// kernels look for it.
#include "kernels/cuda/spans.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/optimizer.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::cuda {
namespace {

using kernels::testing::GraphMaker;
using kernels::testing::RandomGraph;

std::vector<float> Counting(int64_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

void ExpectRoundTrip(const DeviceSpan& span) {
  const std::vector<float> canonical = Counting(span.canonical_count());
  const std::vector<float> device = span.ToDevice(canonical);
  EXPECT_EQ(device.size() % kSpanBlock, 0u);
  std::vector<float> back(canonical.size());
  span.ToCanonical(device, back);
  EXPECT_EQ(back, canonical);
  double sum = 0;
  for (float value : device) sum += value;
  const double count = static_cast<double>(canonical.size());
  EXPECT_EQ(sum, count * (count + 1) / 2);  // nothing but zeros between tensors
}

TEST(Spans, GoToTheDeviceAndBack) {
  for (int seed = 0; seed < 100; ++seed) {
    const SpanLayout layout(RandomGraph(seed));
    ExpectRoundTrip(layout.parameters());
    ExpectRoundTrip(layout.statistics());
  }
}

TEST(Spans, TensorsStartAtWholeBlocksAndDecayByBlock) {
  for (int seed = 0; seed < 100; ++seed) {
    const Graph graph = RandomGraph(seed);
    const SpanLayout layout(graph);
    ASSERT_EQ(static_cast<int64_t>(layout.decays().size()),
              layout.parameters().count() / kSpanBlock);
    for (const Graph::Slice& slice : graph.slices) {
      const int64_t place = layout.parameters().Place(slice.offset);
      EXPECT_EQ(place % kSpanBlock, 0);
      for (int64_t i = place; i < place + slice.size; ++i) {
        EXPECT_EQ(layout.decays()[i / kSpanBlock], slice.decays);
      }
    }
  }
}

TEST(Spans, ConvolutionWeightsLieWithTheirChannelsInnermost) {
  GraphMaker maker({4, 5, 6}, 1, 3);
  maker.Linear(maker.Conv(0, 6, 3, 2, 1, 1, {}, 2, false), 3, false);
  const Graph graph = maker.graph();
  const SpanLayout layout(graph);
  const std::vector<float> canonical = Counting(graph.parameter_count);
  const std::vector<float> device = layout.parameters().ToDevice(canonical);
  // 6 filters of 2 channels (two groups), 3x2.
  auto conv = [&](int k, int c, int r, int s) { return canonical[((k * 2 + c) * 3 + r) * 2 + s]; };
  for (int k = 0; k < 6; ++k) {
    for (int r = 0; r < 3; ++r) {
      for (int s = 0; s < 2; ++s) {
        for (int c = 0; c < 2; ++c) {
          EXPECT_EQ(device[((k * 3 + r) * 2 + s) * 2 + c], conv(k, c, r, s));
        }
      }
    }
  }
  // The linear layer reads an image of 6 channels, 3x5.
  const int64_t start = graph.ops[1].offsets.weight, place = layout.parameters().Place(start);
  EXPECT_EQ(place, 128);
  for (int k = 0; k < 3; ++k) {
    for (int pixel = 0; pixel < 15; ++pixel) {
      for (int c = 0; c < 6; ++c) {
        EXPECT_EQ(device[place + (k * 15 + pixel) * 6 + c],
                  canonical[start + (k * 6 + c) * 15 + pixel]);
      }
    }
  }
}

TEST(Spans, RefuseTensorsThatOverlapOrLeaveGaps) {
  Graph graph = RandomGraph(4);
  GraphMaker maker({3, 4, 4}, 1, 3);
  maker.Linear(maker.BatchNorm(maker.BatchNorm(0)), 3);
  graph = maker.graph();
  graph.ops[1].offsets.running_mean = 0;
  EXPECT_THROW(SpanLayout{graph}, Error);
  graph = maker.graph();
  graph.statistic_count += 1;
  EXPECT_THROW(SpanLayout{graph}, Error);
  graph = maker.graph();
  graph.ops[1].offsets.bias = 1;
  EXPECT_THROW(SpanLayout{graph}, Error);
}

}  // namespace
}  // namespace trainyard::kernels::cuda
