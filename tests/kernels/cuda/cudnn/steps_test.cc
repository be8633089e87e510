// Layers become steps with cuDNN's engines, their workspace in the plan's memory, where it takes
// them; elsewhere nothing is added.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "kernels/cuda/cublaslt/cublaslt.h"
#include "kernels/cuda/cudnn/library.h"
#include "kernels/cuda/cudnn_steps.h"
#include "kernels/cuda/libraries.h"
#include "tests/kernels/cuda/cudnn/driver.h"
#include "tests/kernels/cuda/cudnn/layers.h"
#include "tests/kernels/cuda/cudnn/planner.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr Activation kOff{}, kLeaky{true, 0.125f};

// A plan with one layer and places for its tensors, for a GPU that is only described.
class Step {
 public:
  Step(const char* device, Precision precision, const ConvShape& shape, bool bias = false)
      : libraries_(std::make_unique<Cudnn>(PlannerOptions(device)), nullptr),
        plan(precision, &libraries_) {
    layer.name = "layers.3 (conv)";
    layer.shape = shape;
    layer.weights = {Space::kWeights, 0};
    layer.weight_gradients = {Space::kGradients, 0};
    if (bias) layer.bias = {Space::kParameters, 0};
    x = plan.AddTensor(shape.in_size());
    y = plan.AddTensor(shape.out_size());
  }

  bool Forward(Activation activation) { return AddCudnnForward(layer, activation, x, y, plan); }
  bool Filter() { return AddCudnnBackwardFilter(layer, x, y, plan); }
  bool Data(bool accumulate) { return AddCudnnBackwardData(layer, y, accumulate, x, plan); }
  const CudnnPlan& PlanOf(const ConvGraph& graph) { return *libraries_.cudnn().PlanFor(graph); }
  int64_t TensorBytes() const {
    return plan.element_bytes() * (layer.shape.in_size() + layer.shape.out_size());
  }

 private:
  Libraries libraries_;

 public:
  Plan plan;
  ConvLayer layer;
  Place x, y;
};

ConvShape SomeShape(int in_c = 64, int out_c = 128) {
  return {32, 14, 14, in_c, 14, 14, out_c, 3, 3, 1, 1, 1, 1, 1};
}

TEST(CudnnSteps, NameTheEngineThatResultsDependOn) {
  Step step("h100", Precision::kTf32, SomeShape(), true);
  ASSERT_TRUE(step.Forward(kLeaky));
  ASSERT_TRUE(step.Filter());
  ASSERT_TRUE(step.Data(true));
  Layer layer{SomeShape(), true, true, 0.125f};
  const Precision precision = Precision::kTf32;
  EXPECT_THAT(step.plan.StepNames(),
              ElementsAre("layers.3 (conv) forward cudnn " +
                              step.PlanOf(Forward(layer, precision)).engine(),
                          "layers.3 (conv) weight gradient cudnn " +
                              step.PlanOf(BackwardFilter(layer, precision)).engine(),
                          "layers.3 (conv) data gradient cudnn " +
                              step.PlanOf(BackwardData(layer, precision, true)).engine()));
}

TEST(CudnnSteps, WidenTheWeightGradientsOfBf16) {
  Step step("h100", Precision::kBf16, SomeShape());
  ASSERT_TRUE(step.Filter());
  EXPECT_THAT(step.plan.StepNames(),
              ElementsAre(StartsWith("layers.3 (conv) weight gradient cudnn e"),
                          "layers.3 (conv) weight gradient widened"));
  step.plan.Finish();
  EXPECT_GE(step.plan.transient_bytes(), step.TensorBytes() + 2 * step.layer.shape.weights());
}

TEST(CudnnSteps, LeaveBiasAndReluOfFloatsToUs) {
  Step step("h100", Precision::kFp32, SomeShape(), true);
  ASSERT_TRUE(step.Forward({true, 0}));
  EXPECT_THAT(step.plan.StepNames(), ElementsAre(StartsWith("layers.3 (conv) forward cudnn e"),
                                                 "layers.3 (conv) bias and activation"));
}

// As where the compiler that cuDNN opens is missing.
TEST(CudnnSteps, LeaveBiasAndActivationToUsWhereTheFusedKernelIsNotToBeHad) {
  trainyard_test_driver_loads = false;
  Step with_bias("h100", Precision::kBf16, SomeShape(), true);
  const bool biased = with_bias.Forward(kLeaky);
  Step activated("h100", Precision::kBf16, SomeShape());
  const bool without_bias = activated.Forward(kLeaky);
  trainyard_test_driver_loads = true;
  ASSERT_TRUE(biased && without_bias);
  for (const Step* step : {&with_bias, &activated}) {
    EXPECT_THAT(step->plan.StepNames(), ElementsAre(StartsWith("layers.3 (conv) forward cudnn e"),
                                                    "layers.3 (conv) bias and activation"));
  }
  Step fused("h100", Precision::kBf16, SomeShape(), true);
  ASSERT_TRUE(fused.Forward(kLeaky));
  EXPECT_THAT(fused.plan.StepNames(), ElementsAre(StartsWith("layers.3 (conv) forward cudnn e")));
}

TEST(CudnnSteps, HaveTheirWorkspaceInThePlansMemory) {
  Step step("a100", Precision::kTf32, SomeShape());
  const int64_t workspace =
      step.PlanOf(BackwardFilter({SomeShape()}, Precision::kTf32)).workspace_bytes();
  ASSERT_GT(workspace, 1 << 20);
  ASSERT_TRUE(step.Filter());
  step.plan.Finish();
  EXPECT_GE(step.plan.transient_bytes(), step.TensorBytes() + workspace);
  EXPECT_LE(step.plan.transient_bytes(), step.TensorBytes() + workspace + 3 * 256);
}

TEST(CudnnSteps, AreThoseOfLayersThatTensorCoresLike) {
  struct Case {
    ConvShape shape;
    bool fp32, bf16;
    const char* what;
  };
  ConvShape grouped = SomeShape(), short_of_input = SomeShape();
  grouped.groups = 2;
  short_of_input.out_h = 9;
  const Case cases[] = {
      {SomeShape(), true, true, "whole vectors of both types"},
      {SomeShape(16, 16), true, true, "the fewest channels"},
      {SomeShape(20, 64), true, false, "vectors of floats alone"},
      {SomeShape(64, 20), true, false, "vectors of floats alone"},
      {SomeShape(18, 64), false, false, "no vectors"},
      {SomeShape(8, 64), false, false, "few channels"},
      {SomeShape(64, 8), false, false, "few filters"},
      {grouped, false, false, "groups"},
      {short_of_input, false, false, "windows that leave out a part of the input"},
  };
  for (const Case& c : cases) {
    for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
      const bool takes = precision == Precision::kBf16 ? c.bf16 : c.fp32;
      Step step("h100", precision, c.shape);
      EXPECT_EQ(step.Forward(kOff), takes) << c.what << " " << PrecisionName(precision);
      EXPECT_EQ(step.Filter(), takes) << c.what << " " << PrecisionName(precision);
      EXPECT_EQ(step.Data(false), takes) << c.what << " " << PrecisionName(precision);
      EXPECT_EQ(step.plan.StepNames().empty(), !takes);
    }
  }
}

TEST(CudnnSteps, AreNoneWithoutLibraries) {
  Plan plan(Precision::kFp32);
  ConvLayer layer;
  layer.shape = SomeShape();
  const Place x = plan.AddTensor(layer.shape.in_size()), y = plan.AddTensor(layer.shape.out_size());
  EXPECT_FALSE(AddCudnnForward(layer, kOff, x, y, plan));
  EXPECT_FALSE(AddCudnnBackwardFilter(layer, x, y, plan));
  EXPECT_FALSE(AddCudnnBackwardData(layer, y, false, x, plan));
  EXPECT_THAT(plan.StepNames(), IsEmpty());
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
