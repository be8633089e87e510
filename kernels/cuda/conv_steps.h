// Which kernels compute a convolution or linear layer, and the steps that they take: the one place
// where a backend chooses.
#pragma once

#include <string>

#include "kernels/cuda/conv_shape.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

struct ConvLayer {
  std::string name;  // "layers.3 (conv)"
  ConvShape shape;
  bool first = false;      // a convolution of the images
  Place weights;           // in kWeights
  Place bias;              // in kParameters, or none
  Place weight_gradients;  // in kGradients
};

// y = activation(conv(x, weights) + bias).
void AddConvForward(const ConvLayer& layer, Activation activation, Place x, Place y, Plan& plan);

// The weights' gradient from x and dz, the gradient before the activation.
void AddConvBackwardFilter(const ConvLayer& layer, Place x, Place dz, Plan& plan);

// dx = (accumulate ? dx : 0) + what dz gives.
void AddConvBackwardData(const ConvLayer& layer, Place dz, bool accumulate, Place dx, Plan& plan);

}  // namespace trainyard::kernels::cuda
