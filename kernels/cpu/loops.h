// Our own inner loops, compiled once for each instruction set; one thread each. `parallel.h`
// spreads them over threads. A "tile" is one block of channels of one image (see layout.h).
#pragma once

#include <cstdint>

namespace trainyard::kernels::cpu {

// A window op on one tile. Sizes in pixels.
struct Window {
  int block = 1;
  int in_h = 0, in_w = 0, out_h = 0, out_w = 0;
  int kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, pad_top = 0, pad_left = 0;
};

// Weight gradient of a convolution over few input channels; `taps` = channels * kernel_h *
// kernel_w.
struct FirstConv {
  Window window;         // in_h, in_w: of the padded image; pads 0
  int64_t channels = 0;  // of the image
};

struct AdamW {
  float learning_rate, beta1, beta2, epsilon, decay, clip;
  float correction1, correction2;  // 1 / (1 - beta^t)
};

struct Sgd {
  float learning_rate, momentum, decay, clip;
  bool nesterov;
};

struct Loops {
  const char* isa;

  // Elementwise over `count` floats.
  void (*relu)(const float* x, float* y, int64_t count, float slope);
  // dy[i] *= sign[i] > 0 ? 1 : slope
  void (*relu_backward)(const float* sign, float* dy, int64_t count, float slope);
  // y = a + b, then y > 0 ? y : slope * y (slope 1: plain sum)
  void (*add)(const float* a, const float* b, float* y, int64_t count, float slope);
  // y = x * mask * scale
  void (*dropout)(const float* x, const uint8_t* mask, float* y, int64_t count, float scale);
  // keep[i] = 1 where number start + i of the Philox stream (counter words 1 to 3, key) is at least
  // `threshold`, else 0.
  void (*keep)(uint64_t start, int64_t count, const uint32_t counter[3], const uint32_t key[2],
               uint32_t threshold, uint8_t* keep);
  // Rows of `columns`: y = y + bias, then as in add. `bias` may be null.
  void (*bias_relu)(float* y, int64_t rows, int64_t columns, const float* bias, float slope);
  // sums[c] = sum over rows of x[row][c], rows in order.
  void (*column_sums)(const float* x, int64_t rows, int64_t columns, float* sums);

  // Batch norm on one tile of `plane` positions by `block` channels. Sums are double[block].
  void (*moments)(const float* x, int64_t plane, int block, double* mean, double* square_sum);
  // y = (x - mean) * scale + shift, then as in add.
  void (*normalise)(const float* x, float* y, int64_t plane, int block, const float* mean,
                    const float* scale, const float* shift, float slope);
  // First dy *= (y > 0 ? 1 : slope) unless y is null; then sum = sum dy, dot = sum dy (x - mean).
  void (*norm_sums)(const float* x, const float* y, float* dy, int64_t plane, int block,
                    const float* mean, float slope, double* sum, double* dot);
  // dy = a dy + b (x - mean) + c
  void (*norm_backward)(const float* x, float* dy, int64_t plane, int block, const float* mean,
                        const float* a, const float* b, const float* c);

  // Pools on one tile. `index` is the place in the window of the largest value.
  void (*max_pool)(const Window& window, const float* x, float* y, uint16_t* index);
  // Overwrites dx. Unless `sign` is null, dy counts times (sign > 0 ? 1 : slope).
  void (*max_pool_backward)(const Window& window, const float* dy, const uint16_t* index,
                            const float* sign, float slope, float* dx);
  void (*avg_pool)(const Window& window, const float* x, float* y);
  void (*avg_pool_backward)(const Window& window, const float* dy, float* dx);
  void (*global_pool)(const float* x, int64_t plane, int block, float* y);
  void (*global_pool_backward)(const float* dy, int64_t plane, int block, float* dx);

  // dw[tap][block] += over one padded image and one tile of dy; db[block] += sum of dy.
  void (*first_conv_weights)(const FirstConv& conv, const float* x, const float* dy, float* dw,
                             float* db);

  // Optimizer over `count` parameters. Each returns sum (w - w), which is not 0 once any is not
  // finite.
  double (*square_sum)(const float* x, int64_t count);
  float (*sgd)(const Sgd& step, const float* g, float* w, float* m, int64_t count);
  float (*adamw)(const AdamW& step, const float* g, float* w, float* m, float* v, int64_t count);
};

// The table for the instruction sets that oneDNN uses here (ONEDNN_MAX_CPU_ISA caps both).
const Loops& BestLoops();

}  // namespace trainyard::kernels::cpu
