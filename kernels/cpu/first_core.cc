// The network's first layer, on planes of the few channels that images come with. Padding these to
// 16 channels would multiply the work; here every (channel, tap) is one step of the product's
// depth, and the pixels of a line are its rows, read from the planes where they are.
//
// For the weights' gradient, rows are (kernel row, channel, kernel column): with each line of a
// plane copied once a kernel column, shifted by it, they lie evenly spaced and begin at the same
// pixel. So the copy is kernel_w times the image, not kernel_h * kernel_w times.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/conv_core.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/layout.h"

namespace trainyard::kernels::cpu {
namespace {

class FirstCore : public ConvCore {
 public:
  explicit FirstCore(const ConvGeometry& geometry);

  std::string name() const override { return "first"; }
  void Pack(const float* /*weights*/, float* /*packed*/) const override {}
  void PackBackward(const float* /*weights*/, const float* /*packed*/,
                    float* /*backward*/) const override {}
  void Forward(int images, const float* in, const float* packed, float* scratch,
               float* out) const override;
  void Backward(int images, const float* in, const float* dy, const float* backward, float* scratch,
                float* dx, float* sums) const override;
  void Finish(const float* sums, float* dw) const override;

 private:
  void ShiftLines(const float* in, float* shifted) const;

  const ValueShape in_, out_;
  const int kernel_h_, kernel_w_, stride_h_, stride_w_;
  const int out_pitch_;                           // floats from pixel to pixel
  const int depth_;                               // (channel, tap)
  int64_t in_plane_ = 0;                          // floats of a channel's frame
  int64_t shifted_pitch_ = 0;                     // floats of a shifted line
  std::vector<int64_t> offsets_;                  // of (channel, tap) in the frames
  std::vector<int64_t> line_shifted_, line_out_;  // where an output line's operands begin
};

FirstCore::FirstCore(const ConvGeometry& geometry)
    : in_(geometry.in),
      out_(geometry.out),
      kernel_h_(geometry.op->kernel_h),
      kernel_w_(geometry.op->kernel_w),
      stride_h_(geometry.op->stride_h),
      stride_w_(geometry.op->stride_w),
      out_pitch_(Padded(out_.channels)),
      depth_(in_.channels * kernel_h_ * kernel_w_) {
  input_frame_ = InputFrame(geometry);
  output_frame_ = OutputFrame(geometry);
  in_plane_ = int64_t{input_frame_.height} * input_frame_.width;
  shifted_pitch_ = Padded(out_.width);
  scratch_floats_ = input_frame_.height * in_.channels * kernel_w_ * shifted_pitch_;
  sum_floats_ = int64_t{Padded(out_.channels)} * depth_;

  for (int c = 0; c < in_.channels; ++c) {
    for (int y = 0; y < kernel_h_; ++y) {
      for (int x = 0; x < kernel_w_; ++x) {
        offsets_.push_back(c * in_plane_ + int64_t{y} * input_frame_.width + x);
      }
    }
  }
  for (int y = 0; y < out_.height; ++y) {
    line_shifted_.push_back(int64_t{y} * stride_h_ * in_.channels * kernel_w_ * shifted_pitch_);
    line_out_.push_back(int64_t{y} * out_.width * out_pitch_);
  }
}

void FirstCore::Forward(int images, const float* in, const float* packed, float* /*scratch*/,
                        float* out) const {
  const int64_t image_in = in_.channels * in_plane_;
  const int64_t image_out = int64_t{out_.height} * out_.width * out_pitch_;
  for (int image = 0; image < images; ++image) {
    for (int y = 0; y < out_.height; ++y) {
      Multiply({.rows = out_.width,
                .panels = out_pitch_ / kBlock,
                .depth = 1,
                .segments = depth_,
                .a_offsets = offsets_.data(),
                .a = in + image * image_in + int64_t{y} * stride_h_ * input_frame_.width,
                .a_row = stride_w_,
                .b = packed,
                .b_panel = int64_t{depth_} * kBlock,
                .c = out + image * image_out + line_out_[y],
                .c_row = out_pitch_});
    }
  }
}

// (line of the frame, channel, kernel column, output pixel)
void FirstCore::ShiftLines(const float* in, float* shifted) const {
  for (int y = 0; y < input_frame_.height; ++y) {
    for (int c = 0; c < in_.channels; ++c) {
      const float* line = in + c * in_plane_ + int64_t{y} * input_frame_.width;
      for (int shift = 0; shift < kernel_w_; ++shift, shifted += shifted_pitch_) {
        if (stride_w_ == 1) {
          std::copy_n(line + shift, out_.width, shifted);
        } else {
          for (int x = 0; x < out_.width; ++x) shifted[x] = line[x * stride_w_ + shift];
        }
      }
    }
  }
}

void FirstCore::Backward(int images, const float* in, const float* dy, const float* /*backward*/,
                         float* scratch, float* /*dx*/, float* sums) const {
  const int64_t image_in = in_.channels * in_plane_;
  const int64_t image_out = int64_t{out_.height} * out_.width * out_pitch_;
  for (int image = 0; image < images; ++image) {
    ShiftLines(in + image * image_in, scratch);
    Multiply({.rows = depth_,
              .panels = out_pitch_ / kBlock,
              .depth = out_.width,
              .segments = out_.height,
              .a_offsets = line_shifted_.data(),
              .b_offsets = line_out_.data(),
              .a = scratch,
              .a_row = shifted_pitch_,
              .b = dy + image * image_out,
              .b_panel = kBlock,
              .b_depth = out_pitch_,
              .c = sums,
              .c_row = kBlock,
              .c_panel = int64_t{depth_} * kBlock,
              .accumulate = true});
  }
}

void FirstCore::Finish(const float* sums, float* dw) const {
  for (int panel = 0; panel < out_pitch_ / kBlock; ++panel) {
    for (int y = 0; y < kernel_h_; ++y) {
      for (int c = 0; c < in_.channels; ++c) {
        for (int x = 0; x < kernel_w_; ++x, sums += kBlock) {
          const int row = panel * depth_ + (c * kernel_h_ + y) * kernel_w_ + x;
          std::copy_n(sums, kBlock, dw + int64_t{row} * kBlock);
        }
      }
    }
  }
}

}  // namespace

std::unique_ptr<ConvCore> MakeFirstCore(const ConvGeometry& geometry) {
  const int groups = geometry.op->groups;
  if (!geometry.plain_input || groups != 1) {
    throw Error(geometry.op->name + ": found " + std::to_string(groups) +
                (groups == 1 ? " group and " : " groups and ") +
                (geometry.plain_input ? "a plain input" : "channels last") +
                ", a first layer expects one group and a plain input");
  }
  return std::make_unique<FirstCore>(geometry);
}

}  // namespace trainyard::kernels::cpu
