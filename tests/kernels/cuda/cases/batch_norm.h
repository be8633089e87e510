// Cases of kernels/cuda/batch_norm.h, and the float64 loops that they are held against.
#pragma once

#include <vector>

#include "kernels/cuda/batch_norm.h"
#include "tests/kernels/cuda/support/kernel_case.h"

namespace trainyard::kernels::cuda::testing {

struct BatchMoments {
  std::vector<double> mean, variance, inverse_std;
};
BatchMoments MomentsOf(const BatchNormShape& shape, const std::vector<double>& x, double epsilon);

// `residual` may be empty.
std::vector<double> Normalised(const BatchNormShape& shape, const std::vector<double>& x,
                               const std::vector<double>& mean,
                               const std::vector<double>& inverse_std,
                               const std::vector<double>& gamma, const std::vector<double>& beta,
                               const std::vector<double>& residual, Activation activation);

struct BatchGradients {
  std::vector<double> dz, dgamma, dbeta, dx;
};
BatchGradients GradientsOf(const BatchNormShape& shape, const std::vector<double>& x,
                           const std::vector<double>& y, const std::vector<double>& dy,
                           const std::vector<double>& mean, const std::vector<double>& inverse_std,
                           const std::vector<double>& gamma, Activation activation);

// The channels' means lie about `mean`, their deviations about `deviation`.
struct Spread {
  float mean = 0, deviation = 1;
};
template <typename T>
KernelCase BatchNormStatisticsCase(const BatchNormShape& shape, Spread spread, float momentum,
                                   uint64_t seed);

// The same of values of one's choice, (rows, channels).
template <typename T>
KernelCase BatchNormStatisticsCase(const BatchNormShape& shape, const std::vector<float>& x,
                                   float momentum, uint64_t seed);

KernelCase BatchNormFromRunningCase(int channels, uint64_t seed);

struct ApplyOptions {
  Activation activation;
  bool residual = false;
  enum { kApart, kIsX, kIsResidual } y = kApart;
  Spread spread;
};
template <typename T>
KernelCase BatchNormApplyCase(const BatchNormShape& shape, const ApplyOptions& options,
                              uint64_t seed);

struct BackwardOptions {
  Activation activation;
  bool accumulate = false, residual = false, accumulate_residual = false;
  enum { kNothing, kDx, kDresidual } is_dy = kNothing;
  Spread spread;
};
template <typename T>
KernelCase BatchNormBackwardCase(const BatchNormShape& shape, const BackwardOptions& options,
                                 uint64_t seed);

// At sizes that fill a GPU.
std::vector<KernelCase> BatchNormTableCases();

}  // namespace trainyard::kernels::cuda::testing
