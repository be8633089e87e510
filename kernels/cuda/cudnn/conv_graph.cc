#include "kernels/cuda/cudnn/conv_graph.h"

#include <algorithm>
#include <sstream>

namespace trainyard::kernels::cuda {
namespace {

const char* Name(ConvPass pass) {
  switch (pass) {
    case ConvPass::kBackwardFilter:
      return "backward filter";
    case ConvPass::kBackwardData:
      return "backward data";
    case ConvPass::kForward:
      break;
  }
  return "forward";
}

// How far the last window reaches beyond the input; negative where it ends before.
int Overhang(int in, int out, int kernel, int stride, int pad) {
  return (out - 1) * stride + kernel - pad - in;
}

}  // namespace

std::string ConvGraph::Key() const {
  const ConvShape& s = shape;
  std::ostringstream key;
  key << Name(pass) << ' ' << s.batch << 'x' << s.in_h << 'x' << s.in_w << 'x' << s.in_c << " -> "
      << s.out_h << 'x' << s.out_w << 'x' << s.out_c << ", kernel " << s.kernel_h << 'x'
      << s.kernel_w << ", stride " << s.stride_h << 'x' << s.stride_w << ", padding " << s.pad_top
      << ' ' << s.pad_left << ", groups " << s.groups << ", " << PrecisionName(precision);
  if (bias) key << ", bias";
  // As hexadecimal digits: all of them, whatever the locale.
  if (relu) key << ", relu " << std::hexfloat << slope;
  if (accumulate) key << ", accumulated";
  return key.str();
}

PostPadding PostPaddingOf(const ConvShape& shape) {
  const int below =
      Overhang(shape.in_h, shape.out_h, shape.kernel_h, shape.stride_h, shape.pad_top);
  const int right =
      Overhang(shape.in_w, shape.out_w, shape.kernel_w, shape.stride_w, shape.pad_left);
  return {std::max(below, 0), std::max(right, 0),
          -below < shape.stride_h && -right < shape.stride_w};
}

}  // namespace trainyard::kernels::cuda
