#include "kernels/cuda/cudnn_steps.h"

#include "kernels/cuda/cudnn/library.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/libraries.h"

namespace trainyard::kernels::cuda {
namespace {

// Fewer channels leave tensor cores idle: our kernels for first convolutions and the general ones
// do better.
constexpr int kLeastChannels = 16;

bool Takes(const ConvLayer& layer, const Plan& plan) {
  if (plan.libraries() == nullptr) return false;
  const ConvShape& shape = layer.shape;
  const int vector = 16 / plan.element_bytes();
  for (const int channels : {shape.in_c, shape.out_c}) {
    if (channels < kLeastChannels || channels % vector != 0) return false;
  }
  return shape.groups == 1 && PostPaddingOf(shape).exact;
}

ConvGraph GraphOf(ConvPass pass, const ConvLayer& layer, const Plan& plan) {
  ConvGraph graph;
  graph.pass = pass;
  graph.shape = layer.shape;
  graph.precision = plan.precision();
  return graph;
}

// Of a ConvGraph.
struct Tensors {
  Place x, w, y, bias;
};

void AddExecution(const ConvLayer& layer, const char* direction, CudnnPlan* planned,
                  const Tensors& at, Plan& plan) {
  Place workspace;
  if (planned->workspace_bytes() > 0) workspace = plan.AddBuffer(planned->workspace_bytes());
  plan.AddTypedStep(
      layer.name + " " + direction + " cudnn " + planned->engine(), {at.x, at.w, at.y, workspace},
      [=](const Call& call, auto type) {
        using T = decltype(type);
        planned->Execute({call.At<T>(at.x), call.At<T>(at.w), call.At<T>(at.y), call.At(at.bias),
                          call.At<char>(workspace)},
                         call.stream);
      },
      /*by_library=*/true);
}

// y = activation(y + bias), where no engine does that with the convolution.
void AddBiasAndActivation(const ConvLayer& layer, Activation activation, Place y, Plan& plan) {
  plan.AddTypedStep(layer.name + " bias and activation", {y},
                    [=, shape = layer.shape, bias = layer.bias](const Call& call, auto type) {
                      auto* out = call.At<decltype(type)>(y);
                      if (bias.valid()) {
                        return BiasForward(out, call.At(bias), activation, shape.out_pixels(),
                                           shape.out_c, out, call.stream);
                      }
                      ActivationForward(out, activation, shape.out_size(), out, call.stream);
                    });
}

}  // namespace

bool AddCudnnForward(const ConvLayer& layer, Activation activation, Place x, Place y, Plan& plan) {
  if (!Takes(layer, plan)) return false;
  Cudnn& cudnn = plan.libraries()->cudnn();
  ConvGraph graph = GraphOf(ConvPass::kForward, layer, plan);
  graph.bias = layer.bias.valid();
  graph.relu = activation.on;
  graph.slope = activation.on ? activation.slope : 0;
  if (CudnnPlan* const planned = cudnn.PlanFor(graph)) {
    AddExecution(layer, "forward", planned, {x, layer.weights, y, layer.bias}, plan);
    return true;
  }
  if (!graph.bias && !graph.relu) return false;
  graph.bias = graph.relu = false;
  graph.slope = 0;
  CudnnPlan* const alone = cudnn.PlanFor(graph);
  if (alone == nullptr) return false;
  AddExecution(layer, "forward", alone, {x, layer.weights, y, {}}, plan);
  AddBiasAndActivation(layer, activation, y, plan);
  return true;
}

bool AddCudnnBackwardFilter(const ConvLayer& layer, Place x, Place dz, Plan& plan) {
  if (!Takes(layer, plan)) return false;
  CudnnPlan* const planned =
      plan.libraries()->cudnn().PlanFor(GraphOf(ConvPass::kBackwardFilter, layer, plan));
  if (planned == nullptr) return false;
  const Place gradients = layer.weight_gradients;
  if (plan.precision() != Precision::kBf16) {
    AddExecution(layer, "weight gradient", planned, {x, gradients, dz, {}}, plan);
    return true;
  }
  const int64_t count = layer.shape.weights();
  const Place rounded = plan.AddTensor(count);
  AddExecution(layer, "weight gradient", planned, {x, rounded, dz, {}}, plan);
  plan.AddStep(layer.name + " weight gradient widened", {rounded}, [=](const Call& call) {
    WidenBf16(call.At<bf16>(rounded), count, call.At(gradients), call.stream);
  });
  return true;
}

bool AddCudnnBackwardData(const ConvLayer& layer, Place dz, bool accumulate, Place dx, Plan& plan) {
  if (!Takes(layer, plan)) return false;
  ConvGraph graph = GraphOf(ConvPass::kBackwardData, layer, plan);
  graph.accumulate = accumulate;
  CudnnPlan* const planned = plan.libraries()->cudnn().PlanFor(graph);
  if (planned == nullptr) return false;
  AddExecution(layer, "data gradient", planned, {dx, layer.weights, dz, {}}, plan);
  return true;
}

}  // namespace trainyard::kernels::cuda
