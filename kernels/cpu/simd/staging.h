// What convolutions read and write is staged: one image at a time is copied into scratch that stays
// in the core's cache, and everything cheap is done on the way - the batch norm, ReLU, pool and
// dropout that stand before or after the convolution, forwards and backwards. So every convolution,
// however it is computed, gets every fusion, and no activation makes a trip to memory for them.
//
// All images are channels last, channels a multiple of 16 (layout.h), one image a call, one thread.
#pragma once

#include <array>
#include <cstdint>

namespace trainyard::kernels::cpu {

// How a stored activation is to be read: act((x - mean[c]) * scale[c] + shift[c]), where act(v) is
// v > 0 ? v : slope * v. Without scale: act(x). Subtracting first keeps what a mean far from 0
// hides.
struct View {
  const float* mean = nullptr;
  const float* scale = nullptr;
  const float* shift = nullptr;
  float slope = 1;

  bool plain() const { return scale == nullptr && slope == 1; }
};

// A scratch image larger than what it holds: pixel (0, 0) of the image is pixel (top, left) of the
// frame.
struct Frame {
  int height = 0, width = 0;
  int top = 0, left = 0;
};

struct ImageSize {
  int height = 0, width = 0;
  int channels = 0;
};

// Floats from a pixel to the one below, and to its right neighbour. With more than an image's own,
// it is every so many-th pixel of a larger one.
struct Pitch {
  int64_t y = 0, x = 0;
};

// Whether nothing of a tensor of so many bytes would be in the caches any more when it is read.
// Then it is streamed: written past them, in whole lines that nobody reads before. It lies on a
// line.
inline bool LeavesCaches(int64_t bytes) { return bytes >= int64_t{8} << 20; }

// frame = view(x), with zeros around it.
void StageInput(const ImageSize& size, const float* x, const Pitch& pitch, const View& view,
                const Frame& frame, float* staged);

// What stands in a code: the place of the largest in its 2x2 window, row by row, and whether
// dropout dropped it. 0 where neither stands after the convolution.
constexpr uint8_t kPlaceMask = 3, kDropped = 4;

// What follows a convolution, in this order: + bias; 2x2 max pool with stride 2 (a last odd row or
// column is left out); ReLU; dropout. Then `moments` of what is stored.
struct Epilogue {
  const float* bias = nullptr;
  bool pool = false;
  float slope = 1;
  const uint8_t* keep = nullptr;  // (height, width, channels) as stored: 1 is kept; null: all
  float keep_scale = 1;           // of what is kept
  uint8_t* codes = nullptr;       // out, as stored; null: not wanted
  float* mean = nullptr;          // out, by channel; null: not wanted
  float* m2 = nullptr;            // sum of squared deviations from that mean
  // Done without pool, keep and codes; and with moments only without bias and ReLU, since they are
  // taken of what came out.
  bool stream = false;
};

// stored = epilogue(out). `size` is the convolution's output; `width` pixels lie from row to row of
// `out`. NaN stays NaN through ReLU and pool.
void DrainOutput(const ImageSize& size, int width, const float* out, const Epilogue& epilogue,
                 float* stored);

// The gradient of what a convolution put out, from the gradient `dy` of what is read of it later:
//   g = dy, times view's slope where what view hands to act is not > 0
//   g = a * (g - c) + b * (stored - view.mean)   the batch norm, where a is given: the view's
//   g = dropped ? 0 : keep_scale * g, all of it at the code's place in the 2x2 window if `pool`
// dy, stored and codes are as stored; `size` is theirs.
struct GradientView {
  const float* dy = nullptr;
  const float* stored = nullptr;
  View view;
  const float *a = nullptr, *b = nullptr, *c = nullptr;
  const uint8_t* codes = nullptr;
  bool pool = false;
  float keep_scale = 1;
};

// frame = that gradient, zeros elsewhere; sums[c] += the sum over the image (null: not wanted).
void StageGradient(const ImageSize& size, const GradientView& gradient, const Frame& frame,
                   float* staged, float* sums);

// What a batch norm behind the receiving activation must know of the gradient g that it gets, over
// one image: sum[c] = sum of g', dot[c] = sum of g' * (stored - view.mean), where g' = g times
// view's slope where what view hands to act is not > 0. The view is the norm's.
struct NormSums {
  const float* stored = nullptr;
  View view;
  float *sum = nullptr, *dot = nullptr;  // out
};

enum class Write { kStore, kStream, kAdd };  // kAdd: to what is there

// What becomes of an input's gradient, once all of it is there.
struct GradientEnd {
  // The ReLU that made the input: times slope where this is not > 0. null: none.
  const float* stored = nullptr;
  float slope = 1;
  // For the batch norms behind it. An addition has one for each term.
  std::array<NormSums, 2> sums;
  int sums_count = 0;
};

// dx = the image in the frame, or dx += it, brought to its end. Writes over the frame.
void DrainGradient(const ImageSize& size, const Frame& frame, float* staged, Write write, float* dx,
                   const GradientEnd& end);

// to += from, an image whose pixels are `pitch` apart there.
void AddPixels(const ImageSize& size, const float* from, const Pitch& pitch, float* to);

}  // namespace trainyard::kernels::cpu
