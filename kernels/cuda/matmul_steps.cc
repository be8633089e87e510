#include "kernels/cuda/matmul_steps.h"

#include "kernels/cuda/cublaslt/cublaslt.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/libraries.h"

namespace trainyard::kernels::cuda {
namespace {

using Pass = Matmul::Pass;

Matmul MatmulOf(const ConvLayer& layer, Pass pass, Precision precision) {
  Matmul matmul;
  matmul.pass = pass;
  matmul.precision = precision;
  matmul.batch = layer.shape.batch;
  matmul.in = layer.shape.depth();
  matmul.out = layer.shape.out_c;
  return matmul;
}

std::string StepName(const ConvLayer& layer, const char* direction, const MatmulPlan& product) {
  return layer.name + " " + direction + " cublaslt " + product.algorithm();
}

// result = what `product` makes of left and right; all but the weights' gradient are of the plan's
// element type.
void AddProduct(const std::string& name, const MatmulPlan& product, Place left, Place right,
                Place bias, Place result, Plan& plan) {
  const int64_t bytes = product.workspace_bytes();
  const Place workspace = bytes > 0 ? plan.AddBuffer(bytes) : Place{};
  plan.AddTypedStep(
      name, {left, right, result, workspace},
      [=, &product](const Call& call, auto type) {
        using T = decltype(type);
        product.Run({call.At<T>(left), call.At<T>(right), call.At<T>(bias), call.At<T>(result),
                     call.At<char>(workspace)},
                    call.stream);
      },
      /*by_library=*/true);
}

// y = activation(y + bias), in place: what the product has left undone of it.
void AddRest(const ConvLayer& layer, Place bias, Activation activation, Place y, Plan& plan) {
  const std::string name = layer.name + (bias.valid() ? " forward bias" : " forward activation");
  plan.AddTypedStep(name, {y},
                    [=, rows = layer.shape.out_pixels(), channels = layer.shape.out_c](
                        const Call& call, auto type) {
                      using T = decltype(type);
                      T* values = call.At<T>(y);
                      if (bias.valid()) {
                        BiasForward(values, call.At(bias), activation, rows, channels, values,
                                    call.stream);
                      } else {
                        ActivationForward(values, activation, rows * channels, values, call.stream);
                      }
                    });
}

}  // namespace

bool IsMatmul(const ConvLayer& layer) {
  const ConvShape shape = FewestTaps(layer.shape);
  return shape.in_h == 1 && shape.in_w == 1 && shape.kernel_h == 1 && shape.kernel_w == 1 &&
         shape.groups == 1;
}

bool AddMatmulForward(const ConvLayer& layer, Activation activation, Place x, Place y, Plan& plan) {
  if (plan.libraries() == nullptr) return false;
  CublasLt& cublaslt = plan.libraries()->cublaslt();
  Matmul matmul = MatmulOf(layer, Pass::kForward, plan.precision());
  matmul.bias = layer.bias.valid();
  const MatmulPlan* product = cublaslt.AddPlan(matmul);
  if (product == nullptr && matmul.bias) {
    matmul.bias = false;
    product = cublaslt.AddPlan(matmul);
  }
  if (product == nullptr) return false;
  // In bf16, the bias is rounded as the weights are: cuBLASLt adds no other to a product of bf16.
  const Place added = matmul.bias ? Place{Space::kWeights, layer.bias.at} : Place{};
  AddProduct(StepName(layer, "forward", *product), *product, x, layer.weights, added, y, plan);
  const Place bias = matmul.bias ? Place{} : layer.bias;
  // A ReLU is ours always: cuBLASLt's is max(y, 0), which may make 0 of NaN.
  if (bias.valid() || activation.on) AddRest(layer, bias, activation, y, plan);
  return true;
}

bool AddMatmulBackwardFilter(const ConvLayer& layer, Place x, Place dz, Plan& plan) {
  if (plan.libraries() == nullptr) return false;
  const MatmulPlan* product = plan.libraries()->cublaslt().AddPlan(
      MatmulOf(layer, Pass::kBackwardFilter, plan.precision()));
  if (product == nullptr) return false;
  AddProduct(StepName(layer, "weight gradient", *product), *product, x, dz, {},
             layer.weight_gradients, plan);
  return true;
}

bool AddMatmulBackwardData(const ConvLayer& layer, Place dz, bool accumulate, Place dx,
                           Plan& plan) {
  if (plan.libraries() == nullptr) return false;
  Matmul matmul = MatmulOf(layer, Pass::kBackwardData, plan.precision());
  matmul.accumulate = accumulate;
  const MatmulPlan* product = plan.libraries()->cublaslt().AddPlan(matmul);
  if (product == nullptr) return false;
  AddProduct(StepName(layer, "data gradient", *product), *product, dz, layer.weights, {}, dx, plan);
  return true;
}

}  // namespace trainyard::kernels::cuda
