// Cases of layers' steps by one of NVIDIA's libraries, or by what stands in for it on the emulated
// machine, against float64 loops.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/libraries.h"
#include "tests/kernels/cuda/cases/conv.h"
#include "tests/kernels/cuda/cases/conv_cases.h"

namespace trainyard::kernels::cuda::testing {

// The functions of cudnn_steps.h or matmul_steps.h, and the libraries that they use.
struct LibraryPasses {
  std::unique_ptr<Libraries> (*open)();
  bool (*forward)(const ConvLayer& layer, Activation activation, Place x, Place y, Plan& plan);
  bool (*filter)(const ConvLayer& layer, Place x, Place dz, Plan& plan);
  bool (*data)(const ConvLayer& layer, Place dz, bool accumulate, Place dx, Plan& plan);
};

// Where the tests' tensors lie: each in a span of its own, which a Call names by an address.
constexpr Place kStepX = {Space::kStatistics, 0}, kStepWeights = {Space::kWeights, 0},
                kStepY = {Space::kGradients, 0}, kStepFilterDy = {Space::kParameters, 0};

inline ConvLayer StepLayer(const ConvShape& shape) {
  ConvLayer layer;
  layer.name = "layers.3";
  layer.shape = shape;
  layer.weights = kStepWeights;
  layer.weight_gradients = kStepY;
  return layer;
}

// A layer's steps, with the memory that they work in.
struct LibrarySteps {
  LibrarySteps(const LibraryPasses& passes, Precision precision)
      : libraries(passes.open()), plan(precision, libraries.get()) {}

  void Finish() {
    plan.Finish();
    workspace = Allocate<char>(std::max<int64_t>(1, plan.transient_bytes()));
  }
  void Enqueue(Call call, cudaStream_t stream) const {
    call.stream = stream;
    call.transient = workspace->data();
    plan.Enqueue(call);
  }

  const std::unique_ptr<Libraries> libraries;
  Plan plan;
  Shared<char> workspace;
};

// What a run must not find in the workspace is gone before each.
inline KernelCase PoisoningWorkspace(KernelCase kernel,
                                     const std::shared_ptr<LibrarySteps>& steps) {
  auto& prepare = kernel.outputs.front().prepare;
  prepare = [before = prepare, steps] {
    before();
    steps->workspace->Poison();
  };
  return kernel;
}

// The address of a span, of whatever elements.
template <typename T>
float* SpanOf(const T* data) {
  return reinterpret_cast<float*>(const_cast<T*>(data));
}

// Weights and bias as in a program: a span of floats and, in bf16, a rounded copy of it.
template <typename T>
KernelCase StepsForwardCase(const LibraryPasses& passes, const ConvShape& shape,
                            Precision precision, bool bias, Activation activation, uint64_t seed,
                            float mean = 0) {
  Draw draw(seed);
  const std::vector<T> x = Round<T>(draw.Normal(shape.in_size(), mean)),
                       w = DrawWeights<T>(draw, shape);
  // What rounding leaves as it is, so that the error is the product's.
  std::vector<float> b = bias ? draw.Normal(shape.out_c) : std::vector<float>();
  for (float& value : b) value = ToFloat(FromFloat<T>(value));
  const int64_t bias_at = CeilDivide(shape.weights(), int64_t{kSpanBlock}) * kSpanBlock;
  std::vector<float> parameters;
  for (const T value : w) parameters.push_back(ToFloat(value));
  parameters.resize(bias_at);
  parameters.insert(parameters.end(), b.begin(), b.end());
  const Shared<T> in = Upload(x), packed = Upload(Round<T>(parameters));
  const Shared<float> span = Upload(parameters);
  const Shared<T> out = Allocate<T>(shape.out_size());

  ConvLayer layer = StepLayer(shape);
  if (bias) layer.bias = {Space::kParameters, bias_at};
  const auto steps = std::make_shared<LibrarySteps>(passes, precision);
  EXPECT_TRUE(passes.forward(layer, activation, kStepX, kStepY, steps->plan));
  steps->Finish();
  KernelCase kernel = NewConvCase({"forward", precision, ConvTolerance(precision)}, shape);
  kernel.Expect("y", out, ForwardLoops(shape, Widen(x), Widen(w), Widen(b), activation),
                ConvTolerance(precision));
  kernel.launch = [=](cudaStream_t stream) {
    Call call;
    call.statistics = SpanOf(in->data());
    call.weights = packed->data();
    call.spans.parameters = span->data();
    call.gradients = SpanOf(out->data());
    steps->Enqueue(call, stream);
  };
  return PoisoningWorkspace(std::move(kernel), steps);
}

template <typename T>
KernelCase StepsFilterCase(const LibraryPasses& passes, const ConvShape& shape, Precision precision,
                           uint64_t seed) {
  const auto steps = std::make_shared<LibrarySteps>(passes, precision);
  EXPECT_TRUE(passes.filter(StepLayer(shape), kStepX, kStepFilterDy, steps->plan));
  steps->Finish();
  const ConvKernel of = {"weight gradient", precision, ConvTolerance(precision)};
  return PoisoningWorkspace(
      BackwardFilterCase<T>(of, shape, 1, seed,
                            [=](const T* x, const T* dy, float*, float* dw, cudaStream_t stream) {
                              Call call;
                              call.statistics = SpanOf(x);
                              call.spans.parameters = SpanOf(dy);
                              call.gradients = dw;
                              steps->Enqueue(call, stream);
                            }),
      steps);
}

template <typename T>
KernelCase StepsDataCase(const LibraryPasses& passes, const ConvShape& shape, Precision precision,
                         bool accumulate, uint64_t seed) {
  const auto steps = std::make_shared<LibrarySteps>(passes, precision);
  EXPECT_TRUE(passes.data(StepLayer(shape), kStepY, accumulate, kStepX, steps->plan));
  steps->Finish();
  const ConvKernel of = {"data gradient", precision, ConvTolerance(precision)};
  return PoisoningWorkspace(
      BackwardDataCase<T>(of, shape, accumulate, seed,
                          [=](const T* dy, const T* w, T* dx, cudaStream_t stream) {
                            Call call;
                            call.gradients = SpanOf(dy);
                            call.weights = const_cast<T*>(w);
                            call.statistics = SpanOf(dx);
                            steps->Enqueue(call, stream);
                          }),
      steps);
}

}  // namespace trainyard::kernels::cuda::testing
