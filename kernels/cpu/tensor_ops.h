// Our own ops over whole activations: loops.h spread over threads, tile by tile. Every sum is taken
// in an order that does not depend on the number of threads.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/loops.h"

namespace trainyard::kernels::cpu {

// Gathers, augments (while training) and normalises the call's images into plain (n, c, h, w).
void LoadImages(const ImageSet& images, std::span<const int32_t> indices, const float* table,
                const StepScalars* scalars, float* out);

// One byte per element of `layout`: 1 where the stream of (seed, step, layer) keeps the element
// with that canonical NCHW index, else 0. Padding is 0.
void DropoutMask(const Loops& loops, const Layout& layout, const StepScalars& scalars, int layer,
                 float rate, uint8_t* mask);

// ---- Batch norm. Per-channel arrays are padded to whole blocks. ----

struct BatchNorm {
  Layout layout;
  float momentum = 0, epsilon = 0;
  float slope = 1;  // of the ReLU that follows; 1 is none

  int64_t channels() const { return int64_t{layout.blocks()} * layout.block; }
  // Floats per channel that forward keeps for backward: mean, inverse std; and scale, shift.
  static constexpr int kKept = 4;
  // Two doubles per channel and image, then a float per channel.
  int64_t scratch_bytes() const { return layout.batch * channels() * 2 * 8 + channels() * 4; }
};

struct BatchNormParameters {
  const float* gamma;
  const float* beta;
  float* running_mean;
  float* running_var;
};

void BatchNormForward(const Loops& loops, const BatchNorm& norm, bool training, const float* x,
                      const BatchNormParameters& parameters, float* y, float* kept,
                      double* scratch);

// In place: dy becomes dx, and scale and shift in `kept` are overwritten. y is the output after the
// ReLU, or null where dy is already cut by it.
void BatchNormBackward(const Loops& loops, const BatchNorm& norm, const float* x, const float* y,
                       float* kept, const float* gamma, float* dy, float* dgamma, float* dbeta,
                       double* scratch);

// ---- Pools: `in` and `out` have the same block; global pools give plain (n, c). ----

void MaxPoolForward(const Loops& loops, const Layout& in, const Window& window, const float* x,
                    float* y, uint16_t* index);
void MaxPoolBackward(const Loops& loops, const Layout& in, const Window& window, const float* dy,
                     const uint16_t* index, const float* sign, float slope, float* dx);
void AvgPoolForward(const Loops& loops, const Layout& in, const Window& window, const float* x,
                    float* y);
void AvgPoolBackward(const Loops& loops, const Layout& in, const Window& window, const float* dy,
                     float* dx);
void GlobalPoolForward(const Loops& loops, const Layout& in, const float* x, float* y);
void GlobalPoolBackward(const Loops& loops, const Layout& in, const float* dy, float* dx);

// ---- Weight gradient of a convolution over few plain input channels. ----

struct FirstConvGradient {
  Layout in, out;
  Window window;  // of the op, pads included
  int padded_h = 0, padded_w = 0;

  int64_t taps() const { return int64_t{in.shape.channels} * window.kernel_h * window.kernel_w; }
  int groups() const;  // of images whose sums are kept apart
  int64_t scratch_floats() const;
};

// dw: canonical (out, in, kh, kw); db may be null.
void FirstConvBackward(const Loops& loops, const FirstConvGradient& conv, const float* x,
                       const float* dy, float* dw, float* db, float* scratch);

// ---- Matrix product ----

struct Matrix {
  char transposed;  // 'N' or 'T'
  const float* data;
  int64_t row;  // floats from one stored row to the next
};

// out (rows, columns) = a (rows, depth) * b (depth, columns).
void Multiply(const Matrix& a, const Matrix& b, int64_t rows, int64_t columns, int64_t depth,
              float* out);

// ---- Loss ----

struct LossInput {
  const ImageSet* images;
  std::span<const int32_t> indices;  // image of each row
  int classes;
  float smoothing;
};

// `rows` has one double a row. `gradient` (of the mean loss) may be null.
void SoftmaxCrossEntropy(const LossInput& input, const float* logits, float* gradient, double* rows,
                         double* loss_sum, int64_t* correct);

}  // namespace trainyard::kernels::cpu
