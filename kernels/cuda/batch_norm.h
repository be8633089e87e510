// Batch normalisation over rows of `channels` (NHWC: rows are pixels).
//
//   training:    mean, var over the rows (biased);  y = gamma (x - mean) inverse_std + beta
//   running:     running = momentum running + (1 - momentum) batch, the variance unbiased
//                (rows / (rows - 1) times it; that of one row as it is)
//   backward:    dx = gamma inverse_std (dz - dbeta / rows - xhat dgamma / rows)
//                with dbeta = sum of dz, dgamma = sum of dz xhat, xhat = (x - mean) inverse_std
//
// Source: Ioffe and Szegedy, "Batch Normalization", 2015; partial means and squared deviations are
// joined as in Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm", 1979: mean
// and variance stay within 1e-5 of float64 where the mean is a hundred deviations and more.
//
// Tensors of T, and workspaces, are aligned to 16 bytes; what has one float a channel need not be.
// rows * channels may exceed 2^31 (2^40 is the end). Sums over rows are cut by the shape alone and
// have two stages (kernels/cuda/columns.h). NaN in a channel of x makes all of that channel's saved
// values, y and dx NaN. "Moves": the fewest bytes, in elements of T.
#pragma once

#include <cstdint>

#include "kernels/cuda/runtime.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

struct BatchNormShape {
  int64_t rows = 0;
  int channels = 0;
};

// Floats that BatchNormStatistics or BatchNormBackward works in.
int64_t BatchNormWorkspace(const BatchNormShape& shape);

// saved: (2, channels): mean, then inverse standard deviation, 1 / sqrt(variance + epsilon). Also
// moves the running statistics. momentum: in [0, 1], the share of the running ones that stays.
// Moves rows channels.
template <typename T>
void BatchNormStatistics(const BatchNormShape& shape, const T* x, float momentum, float epsilon,
                         float* workspace, float* saved, float* running_mean, float* running_var,
                         cudaStream_t stream);

// saved from the running statistics, for evaluation.
void BatchNormFromRunning(int channels, const float* running_mean, const float* running_var,
                          float epsilon, float* saved, cudaStream_t stream);

// y = activation(gamma (x - mean) inverse_std + beta + residual). residual: as x, or null. y may be
// x or the residual. Moves (2 + (residual is given)) rows channels.
template <typename T>
void BatchNormApply(const BatchNormShape& shape, const T* x, const float* saved, const float* gamma,
                    const float* beta, const T* residual, Activation activation, T* y,
                    cudaStream_t stream);

// From dy, the gradient after the activation (y: what BatchNormApply gave; not read, and may be
// null, where the activation is off): dz = dy activation'(y), dgamma, dbeta, dx = (accumulate ? dx
// : 0) + ..., and, unless null, dresidual = (accumulate_residual ? dresidual : 0) + dz. One of dx
// and dresidual may be dy; nothing else may overlap. Two passes over x, dy and y. Moves
// (2 (2 + on) + 1 + accumulate + (dresidual is given) (1 + accumulate_residual)) rows channels.
template <typename T>
struct BatchNormGradients {
  float *dgamma = nullptr, *dbeta = nullptr;
  T* dx = nullptr;
  bool accumulate = false;
  T* dresidual = nullptr;
  bool accumulate_residual = false;
};
template <typename T>
void BatchNormBackward(const BatchNormShape& shape, const T* x, const T* y, const T* dy,
                       const float* saved, const float* gamma, Activation activation,
                       float* workspace, const BatchNormGradients<T>& gradients,
                       cudaStream_t stream);

}  // namespace trainyard::kernels::cuda
