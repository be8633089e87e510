// What stands between the passes of a batch norm: what each image's pass found out becomes what the
// next pass needs to know. The passes themselves are part of what drains and stages (staging.h).
//
// Arrays by channel are Padded(channels) long (simd/layout.h), those by image and channel
// (batch, Padded(channels)). Padding of results is zeros, whatever the arguments' is.
//
// Each call is for one block of kBlock channels, on one thread. Images are merged in order, in
// double.
#pragma once

#include <cstdint>

namespace trainyard::kernels::cpu {

struct BatchNorm {
  int batch = 0;
  int channels = 0;
  int64_t plane = 0;  // pixels of an image
  float momentum = 0, epsilon = 0;
};

// Statistics are updated in training.
struct BatchNormParameters {
  const float *gamma = nullptr, *beta = nullptr;
  float *running_mean = nullptr, *running_var = nullptr;
};

// y = (x - mean) * scale + shift, as a View takes it. What rounding the mean to float loses goes
// into the shift. `inverse_std` is for the backward pass.
struct BatchNormView {
  float *mean = nullptr, *scale = nullptr, *shift = nullptr, *inverse_std = nullptr;
};

// From each image's moments (Epilogue), merged after Chan, Golub and LeVeque, "Updating Formulae
// and a Pairwise Algorithm for Computing Sample Variances", 1979. The running variance takes the
// unbiased one.
void BatchNormTraining(const BatchNorm& norm, const float* means, const float* m2s,
                       const BatchNormParameters& parameters, const BatchNormView& view,
                       int64_t block);
// From the running statistics.
void BatchNormEvaluation(const BatchNorm& norm, const BatchNormParameters& parameters,
                         const BatchNormView& view, int64_t block);

// From each image's sums (NormSums): gradients of gamma and beta, and the factors with which
// dx = a * (dy - c) + b * (x - mean) (GradientView).
struct BatchNormGradient {
  const float *sums = nullptr, *dots = nullptr;
  const float *gamma = nullptr, *inverse_std = nullptr;
  float *dgamma = nullptr, *dbeta = nullptr;
  float *a = nullptr, *b = nullptr, *c = nullptr;
};
void BatchNormBackward(const BatchNorm& norm, const BatchNormGradient& gradient, int64_t block);

}  // namespace trainyard::kernels::cpu
