// Inner loops over stored activations and parameters, one thread each. Activations are channels
// last, channels a multiple of 16 (layout.h); `pixels` counts (n, h, w). Everything is taken in an
// order that depends on the arguments only.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd/staging.h"

namespace trainyard::kernels::cpu {

// y = view(x)
void Activate(int64_t pixels, int channels, const float* x, const View& view, float* y);
// y = act(view_a(a) + view_b(b)) with the given slope, stored or streamed.
void AddViews(int64_t pixels, int channels, const float* a, const View& view_a, const float* b,
              const View& view_b, float slope, bool stream, float* y);
// a += b over `count` floats.
void Accumulate(int64_t count, const float* b, float* a);
// dy becomes the gradient of what is stored: as in GradientView, without pool. In place. Codes are
// dropout's, may be null.
void ApplyGradientView(int64_t pixels, int channels, const GradientView& gradient, float* dy);
// Rows of `channels`, `stride` apart: y = act(y + bias); bias may be null.
void BiasActivate(int64_t rows, int channels, int64_t stride, const float* bias, float slope,
                  float* y);
// Dropout standing alone: y = keep ? scale * view(x) : 0.
void Drop(int64_t pixels, int channels, const float* x, const View& view, const uint8_t* keep,
          float scale, float* y);

// Moments of one image, as in Epilogue, and NormSums of one image's gradient.
void Moments(int64_t pixels, int channels, const float* x, float* mean, float* m2);
void SumForNorm(int64_t pixels, int channels, const float* dy, const NormSums& sums);

// A pool window over one image. Sizes in pixels. The window may reach over the image's edge; it
// touches the image everywhere.
struct Window {
  int in_h = 0, in_w = 0, out_h = 0, out_w = 0;
  int kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, pad_top = 0, pad_left = 0;
  int channels = 0;
};
// Of view(x). `index` is the place in the window of the first that is largest; NaN wins.
void MaxPool(const Window& window, const float* x, const View& view, float* y, uint16_t* index);
// Overwrites dx.
void MaxPoolBackward(const Window& window, const float* dy, const uint16_t* index, float* dx);
// Mean over the window's pixels within the image.
void AvgPool(const Window& window, const float* x, const View& view, float* y);
void AvgPoolBackward(const Window& window, const float* dy, float* dx);
void GlobalPool(int64_t pixels, int channels, const float* x, const View& view, float* y);
void GlobalPoolBackward(int64_t pixels, int channels, const float* dy, float* dx);

// keep[i] = 1 where number start + i of the Philox stream (counter words 1 to 3, key) is at least
// `threshold`, else 0.
void KeepBytes(uint64_t start, int64_t count, const uint32_t counter[3], const uint32_t key[2],
               uint32_t threshold, uint8_t* keep);
// Plain (channels, pixels) bytes to (pixels, padded channels); padding is 0.
void BytesToChannelsLast(int64_t pixels, int channels, const uint8_t* from, uint8_t* to);
// Plain (channels, pixels) floats to (pixels, padded channels), padding 0.
void ToChannelsLast(int64_t pixels, int channels, const float* from, float* to);

// Optimizer over `count` parameters. Each update returns sum (w - w), which is not 0 once any is
// not finite.
struct AdamW {
  float learning_rate, beta1, beta2, epsilon, decay, clip;
  float correction1, correction2;  // 1 / (1 - beta^t)
};
struct Sgd {
  float learning_rate, momentum, decay, clip;
  bool nesterov;
};
double SquareSum(int64_t count, const float* x);
float UpdateSgd(const Sgd& step, int64_t count, const float* g, float* w, float* m);
float UpdateAdamW(const AdamW& step, int64_t count, const float* g, float* w, float* m, float* v);

}  // namespace trainyard::kernels::cpu
