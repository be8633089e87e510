#include "kernels/cuda/conv_steps.h"

#include "kernels/cuda/conv.h"
#include "kernels/cuda/cudnn_steps.h"
#include "kernels/cuda/depthwise_conv.h"
#include "kernels/cuda/first_conv.h"
#include "kernels/cuda/matmul_steps.h"

namespace trainyard::kernels::cuda {
namespace {

enum class ConvKernels { kFirst, kDepthwise, kGeneral };

ConvKernels Choose(const ConvLayer& layer) {
  if (DepthwiseTakes(layer.shape)) return ConvKernels::kDepthwise;
  if (layer.first && FirstConvTakes(layer.shape)) return ConvKernels::kFirst;
  return ConvKernels::kGeneral;
}

const char* Name(ConvKernels kernels) {
  switch (kernels) {
    case ConvKernels::kFirst:
      return "first";
    case ConvKernels::kDepthwise:
      return "depthwise";
    case ConvKernels::kGeneral:
      break;
  }
  return "general";
}

int64_t FilterWorkspace(ConvKernels kernels, const ConvShape& shape) {
  switch (kernels) {
    case ConvKernels::kFirst:
      return FirstConvBackwardFilterWorkspace(shape);
    case ConvKernels::kDepthwise:
      return DepthwiseBackwardFilterWorkspace(shape);
    case ConvKernels::kGeneral:
      break;
  }
  return ConvBackwardFilterWorkspace(shape);
}

std::string StepName(const ConvLayer& layer, const char* direction, ConvKernels kernels) {
  return layer.name + " " + direction + " " + Name(kernels);
}

}  // namespace

void AddConvForward(const ConvLayer& layer, Activation activation, Place x, Place y, Plan& plan) {
  CheckConvShape("forward", layer.shape);
  if (IsMatmul(layer) && AddMatmulForward(layer, activation, x, y, plan)) return;
  const ConvKernels kernels = Choose(layer);
  if (kernels == ConvKernels::kGeneral && AddCudnnForward(layer, activation, x, y, plan)) return;
  plan.AddTypedStep(StepName(layer, "forward", kernels), {x, y},
                    [=, shape = layer.shape, weights = layer.weights, bias = layer.bias,
                     precision = plan.precision()](const Call& call, auto type) {
                      using T = decltype(type);
                      const T *in = call.At<T>(x), *w = call.At<T>(weights);
                      T* out = call.At<T>(y);
                      const float* b = call.At(bias);
                      switch (kernels) {
                        case ConvKernels::kFirst:
                          return FirstConvForward(shape, in, w, b, activation, out, call.stream);
                        case ConvKernels::kDepthwise:
                          return DepthwiseForward(shape, in, w, b, activation, out, call.stream);
                        case ConvKernels::kGeneral:
                          return ConvForward(shape, precision, in, w, b, activation, out,
                                             call.stream);
                      }
                    });
}

void AddConvBackwardFilter(const ConvLayer& layer, Place x, Place dz, Plan& plan) {
  if (IsMatmul(layer) && AddMatmulBackwardFilter(layer, x, dz, plan)) return;
  const ConvKernels kernels = Choose(layer);
  if (kernels == ConvKernels::kGeneral && AddCudnnBackwardFilter(layer, x, dz, plan)) return;
  const Place workspace = plan.AddFloats(FilterWorkspace(kernels, layer.shape));
  plan.AddTypedStep(
      StepName(layer, "weight gradient", kernels), {x, dz, workspace},
      [=, shape = layer.shape, to = layer.weight_gradients, precision = plan.precision()](
          const Call& call, auto type) {
        using T = decltype(type);
        const T *in = call.At<T>(x), *gradient = call.At<T>(dz);
        float *work = call.At(workspace), *dw = call.At(to);
        switch (kernels) {
          case ConvKernels::kFirst:
            return FirstConvBackwardFilter(shape, in, gradient, work, dw, call.stream);
          case ConvKernels::kDepthwise:
            return DepthwiseBackwardFilter(shape, in, gradient, work, dw, call.stream);
          case ConvKernels::kGeneral:
            return ConvBackwardFilter(shape, precision, in, gradient, work, dw, call.stream);
        }
      });
}

void AddConvBackwardData(const ConvLayer& layer, Place dz, bool accumulate, Place dx, Plan& plan) {
  if (IsMatmul(layer) && AddMatmulBackwardData(layer, dz, accumulate, dx, plan)) return;
  const bool depthwise = DepthwiseTakes(layer.shape);
  if (!depthwise && AddCudnnBackwardData(layer, dz, accumulate, dx, plan)) return;
  const ConvKernels kernels = depthwise ? ConvKernels::kDepthwise : ConvKernels::kGeneral;
  plan.AddTypedStep(StepName(layer, "data gradient", kernels), {dz, dx},
                    [=, shape = layer.shape, weights = layer.weights, precision = plan.precision()](
                        const Call& call, auto type) {
                      using T = decltype(type);
                      const T *gradient = call.At<T>(dz), *w = call.At<T>(weights);
                      T* to = call.At<T>(dx);
                      if (depthwise) {
                        DepthwiseBackwardData(shape, gradient, w, accumulate, to, call.stream);
                      } else {
                        ConvBackwardData(shape, precision, gradient, w, accumulate, to,
                                         call.stream);
                      }
                    });
}

}  // namespace trainyard::kernels::cuda
