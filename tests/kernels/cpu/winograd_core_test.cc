// Winograd with many channels and large images, and what it refuses; every_core_test.cc has random
// shapes.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/conv_core.h"
#include "tests/kernels/cpu/conv_case.h"

namespace trainyard::kernels::cpu::testing {
namespace {

void CheckCore(const ConvCase& conv, const std::vector<int>& packs) {
  const ConvSample sample(conv, 3);
  ExpectClose(Computed(sample, *MakeWinogradCore(sample.geometry()), packs), Expected(sample), true,
              kWinogradTolerance);
}

// The rounding of Winograd's transforms grows with the channels that are summed over.
TEST(WinogradCore, StaysWithinToleranceWithManyChannels) {
  CheckCore(Case3x3({512, 8, 8}, 16, 4), {1, 2, 1});
  CheckCore(Case3x3({16, 8, 8}, 512, 4), {2, 2});
  ConvCase large = Case3x3({17, 40, 36}, 20, 3);
  large.op.pad_top = large.op.pad_bottom = large.op.pad_left = large.op.pad_right = 0;
  CheckCore(large, {1, 1, 1});
}

TEST(WinogradCore, WeightGradientNeedsNoDataGradient) {
  const ConvSample sample(Case3x3({20, 7, 9}, 18, 2), 4);
  const auto core = MakeWinogradCore(sample.geometry());
  ConvResults<float> alone = Computed(sample, *core, {1, 1}, false);
  const ConvResults<float> both = Computed(sample, *core, {1, 1});
  alone.dx = both.dx;
  ExpectSameBytes(alone, both);
}

TEST(WinogradCore, RefusesWhatItCannotComputeByName) {
  const ConvSample sample(Case3x3({4, 6, 6}, 5, 1), 5);
  ASSERT_TRUE(WinogradSupports(sample.geometry()));
  const auto refuses = [&](const auto& change) {
    ConvGeometry geometry = sample.geometry();
    Op op = *geometry.op;
    geometry.op = &op;
    change(op, geometry);
    EXPECT_FALSE(WinogradSupports(geometry));
    try {
      MakeWinogradCore(geometry);
      ADD_FAILURE() << "made a core";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("layers.1: found a"), std::string::npos);
    }
  };
  refuses([](Op& op, ConvGeometry&) { op.kernel_h = 5; });
  refuses([](Op& op, ConvGeometry&) { op.kernel_w = 1; });
  refuses([](Op& op, ConvGeometry&) { op.stride_h = 2; });
  refuses([](Op& op, ConvGeometry&) { op.stride_w = 2; });
  refuses([](Op& op, ConvGeometry&) { op.groups = 2; });
  refuses([](Op&, ConvGeometry& geometry) { geometry.plain_input = true; });
}

}  // namespace
}  // namespace trainyard::kernels::cpu::testing
