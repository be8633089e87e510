// What may change from step to step, as kernels read it from device memory: a captured step is
// replayed with other values in these, and nothing else.
#pragma once

#include <cstdint>

namespace trainyard::kernels::cuda {

// One layer's dropout: element i is kept where its Philox word is at least `threshold`
// (kernels/philox.h), and then multiplied by `scale`, 1 / (1 - rate).
struct DropoutRate {
  uint32_t threshold = 0;
  float scale = 1;
};

// Where the images lie that a batch is taken from.
struct BatchSource {
  const uint8_t* pixels = nullptr;  // bytes (images, channels, height, width)
  const int32_t* labels = nullptr;  // (images)
};

// StepScalars (kernels/backend.h) without what kernels do not need, plus what would cost each
// thread a power: written by the host before a step.
struct StepBlock {
  uint64_t seed = 0;
  int64_t step = 0;
  float learning_rate = 0, momentum = 0;
  float beta1 = 0, beta2 = 0, epsilon = 0;
  float correction1 = 1, correction2 = 1;  // AdamW: 1 - beta^(step + 1)
  float weight_decay = 0;
  float clip_norm = 0;  // 0: none
  float label_smoothing = 0;
  int32_t adamw = 0;  // else SGD
  int32_t nesterov = 0;
  int32_t flip = 0, shift = 0, cutout = 0;
};

}  // namespace trainyard::kernels::cuda
