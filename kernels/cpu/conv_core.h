// How one convolution is computed on images that are staged already: the seam between the planner,
// the driver that stages and spreads over threads (convolution.h), and each way of computing.
//
// Ways: Winograd for 3x3 with stride 1 (winograd_core), the network's first layer (first_core),
// channel by channel for depthwise (depthwise_core), and products over taps for everything else, in
// groups or not (direct_core).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cpu/simd/staging.h"
#include "kernels/graph.h"

namespace trainyard::kernels::cpu {

struct ConvGeometry {
  const Op* op = nullptr;
  ValueShape in, out;
  int batch = 0;
  bool plain_input = false;  // the network's input: (channels, height, width) as they come
};

// The smallest frames that hold the image and all that the taps read, and the output alone.
Frame InputFrame(const ConvGeometry& geometry);
Frame OutputFrame(const ConvGeometry& geometry);

// What every way has in common. Const functions may run in several threads at once, each with
// scratch of its own.
class ConvWay {
 public:
  virtual ~ConvWay() = default;

  // "winograd 4x4", "direct", "direct 1x1", "direct groups", "first", "depthwise": for --explain,
  // profiles and fingerprints.
  virtual std::string name() const = 0;

  // The scratch image that an input image is staged into, and that its gradient is taken from. For
  // a plain input: of each channel's plane.
  Frame input_frame() const { return input_frame_; }
  // The same of the output; its image lies at (0, 0).
  Frame output_frame() const { return output_frame_; }

  // Floats: packed weights for forward, and those for backward; the sum that weight gradients are
  // added up in. Packed weights may need none: then `weights` are used.
  int64_t packed_floats() const { return packed_floats_; }
  int64_t packed_backward_floats() const { return packed_backward_floats_; }
  int64_t sum_floats() const { return sum_floats_; }

  // These spread over threads themselves.
  // Weights, in the form of parameter_layout.h, as going forward wants them.
  virtual void Pack(const float* weights, float* packed) const = 0;
  // What going backward wants besides, from the weights and what Pack made. Only where data
  // gradients are wanted.
  virtual void PackBackward(const float* weights, const float* packed, float* backward) const = 0;
  // dw, in the weights' form, from sums that all images went into.
  virtual void Finish(const float* sums, float* dw) const = 0;

 protected:
  Frame input_frame_, output_frame_;
  int64_t packed_floats_ = 0, packed_backward_floats_ = 0, sum_floats_ = 0;
};

// Computes a few images a call, on one thread, from their staged inputs to their outputs. Ways that
// need many images at once are batch_core.h's.
class ConvCore : public ConvWay {
 public:
  // Images that Forward and Backward take at once, staged one behind another: few where an image is
  // large, more where one is too small to fill a matrix product. Depends on the shape only.
  int pack() const { return pack_; }
  int64_t scratch_floats() const { return scratch_floats_; }  // of a call

  // out = conv(in), without bias. `images` <= pack(). Without packed_floats, `packed` is the
  // weights.
  virtual void Forward(int images, const float* in, const float* packed, float* scratch,
                       float* out) const = 0;
  // sums += the weights' gradient, image after image. Unless null, dx = the input's, overwritten.
  virtual void Backward(int images, const float* in, const float* dy, const float* backward,
                        float* scratch, float* dx, float* sums) const = 0;

 protected:
  int pack_ = 1;
  int64_t scratch_floats_ = 0;
};

// Each throws Error where it cannot compute that convolution; Supports says so beforehand.
bool WinogradSupports(const ConvGeometry& geometry);  // 3x3, stride 1, not the first layer, dense
std::unique_ptr<ConvCore> MakeWinogradCore(const ConvGeometry& geometry);
std::unique_ptr<ConvCore> MakeDirectCore(const ConvGeometry& geometry);     // channels last
std::unique_ptr<ConvCore> MakeFirstCore(const ConvGeometry& geometry);      // dense, plain input
std::unique_ptr<ConvCore> MakeDepthwiseCore(const ConvGeometry& geometry);  // one channel a group

// Which of them the planner takes: the fastest that supports the convolution.
std::unique_ptr<ConvCore> ChooseConvCore(const ConvGeometry& geometry);

}  // namespace trainyard::kernels::cpu
