#include "network/shapes.h"

#include <algorithm>

namespace trainyard::network {
namespace {

int DividedUp(int value, int divisor) { return value / divisor + (value % divisor != 0); }

// Zeros before and after one axis so that the output has ceil(input / stride) pixels.
void ResolveAxis(int input, int kernel, int stride, int* before, int* after) {
  int64_t output = DividedUp(input, stride);
  int total = static_cast<int>(std::max<int64_t>((output - 1) * stride + kernel - input, 0));
  *before = total / 2;
  *after = total - *before;
}

// Output shape of a window that slides over each channel.
Shape Slide(const Shape& input, int channels, const Extent& kernel, const Extent& stride,
            const Padding& padding) {
  Padding p = ResolvePadding(padding, input, kernel, stride);
  return {channels, (input.height + p.top + p.bottom - kernel.height) / stride.height + 1,
          (input.width + p.left + p.right - kernel.width) / stride.width + 1};
}

struct OutputShapeOf {
  const Shape& input;

  Shape operator()(const Conv& conv) const {
    return Slide(input, conv.filters, conv.kernel, conv.stride, conv.padding);
  }
  Shape operator()(const Pool& pool) const {
    return Slide(input, input.channels, pool.kernel, pool.stride, pool.padding);
  }
  Shape operator()(const GlobalAvgPool&) const { return {input.channels, 1, 1}; }
  Shape operator()(const Flatten&) const { return {static_cast<int>(input.size()), 1, 1}; }
  Shape operator()(const Dense& dense) const { return {dense.units, 1, 1}; }
  Shape operator()(const Residual& residual) const {
    Shape shape = input;
    for (const Layer& layer : residual.body) shape = OutputShape(layer, shape);
    return shape;
  }
  // Batch norm, ReLU and dropout.
  template <class Elementwise>
  Shape operator()(const Elementwise&) const {
    return input;
  }
};

}  // namespace

Padding ResolvePadding(const Padding& padding, const Shape& input, const Extent& kernel,
                       const Extent& stride) {
  if (!padding.same) return padding;
  Padding pixels;
  ResolveAxis(input.height, kernel.height, stride.height, &pixels.top, &pixels.bottom);
  ResolveAxis(input.width, kernel.width, stride.width, &pixels.left, &pixels.right);
  return pixels;
}

Shape OutputShape(const Layer& layer, const Shape& input) {
  return std::visit(OutputShapeOf{input}, layer.op);
}

}  // namespace trainyard::network
