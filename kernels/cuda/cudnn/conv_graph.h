// What cuDNN is asked to compute: one convolution with what is fused to it. Plain fields: includes
// neither NVIDIA's headers nor the emulated ones.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/cuda/conv_shape.h"
#include "kernels/precision.h"

namespace trainyard::kernels::cuda {

enum class ConvPass { kForward, kBackwardFilter, kBackwardData };

// Tensors by their names in conv_shape.h; in the backward passes y is the gradient dy, and w or x
// the gradient that is computed. They are float or, with kBf16, bf16: the gradient of w too, since
// cuDNN has no engine that sums bf16 products over the batch into floats and cuts that long sum.
struct ConvGraph {
  ConvPass pass{};
  ConvShape shape;
  Precision precision{};
  // Forward: y = relu(conv(x, w) + bias), of which either or both may be left out.
  bool bias = false;  // (out_c), float
  bool relu = false;
  float slope = 0;  // where negative
  // Backward data: x += instead of x =.
  bool accumulate = false;

  // All of it in one line: "backward data 128x28x28x32 -> 28x28x64, kernel 3x3, ...".
  std::string Key() const;
};

// Rows and columns of padding behind the input that the output's size implies. Where the last
// window ends before the input does, none: cuDNN's rule for the output's size then still holds,
// unless another whole window would fit.
struct PostPadding {
  int bottom = 0, right = 0;
  bool exact = false;  // cuDNN computes the output's size to be the shape's
};
PostPadding PostPaddingOf(const ConvShape& shape);

}  // namespace trainyard::kernels::cuda
