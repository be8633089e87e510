#include <algorithm>
#include <memory>
#include <string>

#include "kernels/backend.h"
#include "kernels/cpu/conv_core.h"
#include "kernels/cpu/simd/depthwise.h"
#include "kernels/cpu/simd/layout.h"

namespace trainyard::kernels::cpu {
namespace {

class DepthwiseCore : public ConvCore {
 public:
  explicit DepthwiseCore(const ConvGeometry& geometry) {
    const Op& op = *geometry.op;
    input_frame_ = InputFrame(geometry);
    output_frame_ = OutputFrame(geometry);
    conv_ = {Padded(geometry.in.channels),
             geometry.out.height,
             geometry.out.width,
             input_frame_.width,
             op.kernel_h,
             op.kernel_w,
             op.stride_h,
             op.stride_w};
    image_in_ = int64_t{input_frame_.height} * input_frame_.width * conv_.channels;
    image_out_ = int64_t{conv_.out_h} * conv_.out_w * conv_.channels;
    packed_backward_floats_ = sum_floats_ = int64_t{op.kernel_h} * op.kernel_w * conv_.channels;
  }

  std::string name() const override { return "depthwise"; }
  void Pack(const float* /*weights*/, float* /*packed*/) const override {}
  void PackBackward(const float* weights, const float* /*packed*/, float* backward) const override {
    std::copy_n(weights, packed_backward_floats_, backward);
  }

  void Forward(int images, const float* in, const float* packed, float* /*scratch*/,
               float* out) const override {
    for (int i = 0; i < images; ++i) {
      DepthwiseForward(conv_, in + i * image_in_, packed, out + i * image_out_);
    }
  }

  void Backward(int images, const float* in, const float* dy, const float* backward,
                float* /*scratch*/, float* dx, float* sums) const override {
    for (int i = 0; i < images; ++i) {
      DepthwiseWeights(conv_, in + i * image_in_, dy + i * image_out_, sums);
      if (dx == nullptr) continue;
      std::fill_n(dx + i * image_in_, image_in_, 0.0f);
      DepthwiseData(conv_, dy + i * image_out_, backward, dx + i * image_in_);
    }
  }

  void Finish(const float* sums, float* dw) const override { std::copy_n(sums, sum_floats_, dw); }

 private:
  Depthwise conv_;
  int64_t image_in_ = 0, image_out_ = 0;  // floats of a staged image
};

}  // namespace

std::unique_ptr<ConvCore> MakeDepthwiseCore(const ConvGeometry& geometry) {
  const int groups = geometry.op->groups;
  const int inputs = geometry.in.channels, outputs = geometry.out.channels;
  if (geometry.plain_input || groups == 1 || groups != inputs || groups != outputs) {
    throw Error(geometry.op->name + ": found " + std::to_string(groups) +
                (groups == 1 ? " group, " : " groups, ") + std::to_string(inputs) + " inputs and " +
                std::to_string(outputs) + " outputs, a depthwise one expects as many of each");
  }
  return std::make_unique<DepthwiseCore>(geometry);
}

}  // namespace trainyard::kernels::cpu
