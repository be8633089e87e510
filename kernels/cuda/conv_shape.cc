#include "kernels/cuda/conv_shape.h"

#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/check.h"

namespace trainyard::kernels::cuda {
void CheckConvShape(const char* kernel, const ConvShape& shape) {
  CheckPositive(kernel, "batch", shape.batch);
  CheckPositive(kernel, "input channels", shape.in_c);
  CheckPositive(kernel, "output channels", shape.out_c);
  CheckPositive(kernel, "groups", shape.groups);
  if (shape.in_c % shape.groups != 0 || shape.out_c % shape.groups != 0) {
    throw Error(std::string(kernel) + ": " + std::to_string(shape.groups) +
                " groups do not divide " + std::to_string(shape.in_c) + " and " +
                std::to_string(shape.out_c) + " channels");
  }
  CheckWindows(kernel, "height", shape.in_h, shape.out_h, shape.kernel_h, shape.stride_h,
               shape.pad_top);
  CheckWindows(kernel, "width", shape.in_w, shape.out_w, shape.kernel_w, shape.stride_w,
               shape.pad_left);
  CheckIndexable(kernel, "x", shape.in_size());
  CheckIndexable(kernel, "y", shape.out_size());
  CheckIndexable(kernel, "w", shape.weights());
}

ConvShape FewestTaps(const ConvShape& shape) {
  const bool covers = shape.kernel_h == shape.in_h && shape.kernel_w == shape.in_w &&
                      shape.out_h == 1 && shape.out_w == 1 && shape.pad_top == 0 &&
                      shape.pad_left == 0 && shape.groups == 1;
  if (!covers) return shape;
  ConvShape product;
  product.batch = shape.batch;
  product.in_h = product.in_w = product.out_h = product.out_w = 1;
  product.in_c = static_cast<int>(shape.depth());
  product.out_c = shape.out_c;
  return product;
}

}  // namespace trainyard::kernels::cuda
