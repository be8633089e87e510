#include <algorithm>
#include <string>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/columns.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vectors.h"

namespace trainyard::kernels::cuda {
namespace {

// Vectors of each input that a thread has in flight.
constexpr int kStatisticsBatch = 4, kApplyBatch = 2, kBackwardBatch = 2;

// Count, mean and sum of squared deviations from the mean, of values or of groups of them.
struct Moments {
  float count, mean, m2;

  // Chan, Golub and LeVeque. NaN and infinity go through.
  __device__ __forceinline__ void Join(const Moments& other) {
    if (other.count == 0) return;
    const float total = count + other.count, share = other.count / total;
    const float difference = other.mean - mean;
    mean += difference * share;
    m2 += other.m2 + difference * difference * count * share;
    count = total;
  }
};

__device__ __forceinline__ float InverseStd(float variance, float epsilon) {
  return 1 / sqrtf(variance + epsilon);
}

// The blocks that come first in time take the last rows: the pass before has just read those, and
// the cache may hold them still.
__device__ __forceinline__ int PieceFromLast() {
  return static_cast<int>(gridDim.y - 1 - blockIdx.y);
}

// Sums are of distances from the thread's first row, so that they lose no digits to a large mean:
// the squares are then at most `rows` times too large before the mean's share is taken out.
template <typename T>
__global__ void __launch_bounds__(kColumnThreads, 4)
    BatchNormStatisticsKernel(ColumnPlan plan, const T* __restrict__ x,
                              Moments* __restrict__ partials) {
  constexpr int kSize = Vector<T>::kSize;
  const int piece = static_cast<int>(blockIdx.y);
  const ColumnThread at = PlaceInColumns<kSize>(plan, piece);
  const Vector<T> origin = Load<kSize>(x + at.offset, at.rows > 0 ? kSize : at.rest);
  float sum[kSize] = {}, squares[kSize] = {};
  ForEachRow<kSize, kStatisticsBatch>(
      plan, at, [&](int64_t offset, int count) { return Load<kSize>(x + offset, count); },
      [&](const Vector<T>& v, int64_t, int count) {
#pragma unroll
        for (int i = 0; i < kSize; ++i) {
          const float distance = i < count ? ToFloat(v.at[i]) - ToFloat(origin.at[i]) : 0.f;
          sum[i] += distance;
          squares[i] += distance * distance;
        }
      });
  Moments moments[kSize];
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    const float count = static_cast<float>(at.rows + (i < at.rest ? 1 : 0));
    const float mean = count > 0 ? sum[i] / count : 0.f;
    const float m2 = squares[i] - sum[i] * mean;
    moments[i] = {count, ToFloat(origin.at[i]) + mean, m2 < 0 ? 0.f : m2};
  }
  StorePartials(plan, at, piece, moments, partials);
}

struct RunningStatistics {
  float momentum;
  float *mean, *variance;
};

__global__ void __launch_bounds__(kJoinThreads)
    BatchNormStatisticsJoinKernel(const Moments* __restrict__ partials, int partial_rows,
                                  int64_t rows, int channels, float epsilon,
                                  float* __restrict__ saved, RunningStatistics running) {
  JoinPartials(partials, partial_rows, channels, [&](int channel, const Moments& moments) {
    const float variance = moments.m2 / static_cast<float>(rows);
    saved[channel] = moments.mean;
    saved[channels + channel] = InverseStd(variance, epsilon);
    const float unbiased = rows > 1 ? moments.m2 / static_cast<float>(rows - 1) : variance;
    const float old = running.momentum, fresh = 1 - running.momentum;
    running.mean[channel] = old * running.mean[channel] + fresh * moments.mean;
    running.variance[channel] = old * running.variance[channel] + fresh * unbiased;
  });
}

__global__ void __launch_bounds__(kColumnThreads)
    BatchNormFromRunningKernel(int channels, const float* __restrict__ running_mean,
                               const float* __restrict__ running_var, float epsilon,
                               float* __restrict__ saved) {
  const int channel = static_cast<int>(blockIdx.x * kColumnThreads + threadIdx.x);
  if (channel >= channels) return;
  saved[channel] = running_mean[channel];
  saved[channels + channel] = InverseStd(running_var[channel], epsilon);
}

template <typename T>
__global__ void __launch_bounds__(kColumnThreads)
    BatchNormApplyKernel(ColumnPlan plan, const T* x, const float* __restrict__ saved,
                         const float* __restrict__ gamma, const float* __restrict__ beta,
                         const T* residual, Activation activation, T* y) {
  constexpr int kSize = Vector<T>::kSize;
  struct Row {
    Vector<T> x, residual;
  };
  const ColumnThread at = PlaceInColumns<kSize>(plan, PieceFromLast());
  float of_slot[3][kSize];
  SpreadOverSlots(
      plan,
      [&](int channel, float(&values)[3]) {
        values[0] = saved[channel];
        values[1] = gamma[channel] * saved[plan.channels + channel];
        values[2] = beta[channel];
      },
      of_slot);
  ForEachRow<kSize, kApplyBatch>(
      plan, at,
      [&](int64_t offset, int count) {
        Row row;
        row.x = Load<kSize>(x + offset, count);
        if (residual != nullptr) row.residual = Load<kSize>(residual + offset, count);
        return row;
      },
      [&](const Row& row, int64_t offset, int count) {
        Vector<T> result;
#pragma unroll
        for (int i = 0; i < kSize; ++i) {
          float value = (ToFloat(row.x.at[i]) - of_slot[0][i]) * of_slot[1][i] + of_slot[2][i];
          if (residual != nullptr) value += ToFloat(row.residual.at[i]);
          result.at[i] = FromFloat<T>(Activate(activation, value));
        }
        Store(y + offset, result, count);
      });
}

// Sums of dz and of dz (x - mean). kMasked: the activation is on, and y says where.
template <typename T, bool kMasked>
__global__ void __launch_bounds__(kColumnThreads, 3)
    BatchNormBackwardSumsKernel(ColumnPlan plan, const T* __restrict__ x, const T* __restrict__ y,
                                const T* __restrict__ dy, const float* __restrict__ saved,
                                Activation activation, Sums<2>* __restrict__ partials) {
  constexpr int kSize = Vector<T>::kSize;
  struct Row {
    Vector<T> x, y, dy;
  };
  const int piece = static_cast<int>(blockIdx.y);
  const ColumnThread at = PlaceInColumns<kSize>(plan, piece);
  float mean[1][kSize];
  SpreadOverSlots(
      plan, [&](int channel, float(&value)[1]) { value[0] = saved[channel]; }, mean);
  Sums<2> sums[kSize] = {};
  ForEachRow<kSize, kBackwardBatch>(
      plan, at,
      [&](int64_t offset, int count) {
        Row row;
        row.x = Load<kSize>(x + offset, count);
        if constexpr (kMasked) row.y = Load<kSize>(y + offset, count);
        row.dy = Load<kSize>(dy + offset, count);  // zeros beyond `count`
        return row;
      },
      [&](const Row& row, int64_t, int) {
#pragma unroll
        for (int i = 0; i < kSize; ++i) {
          float dz = ToFloat(row.dy.at[i]);
          if constexpr (kMasked) dz = BeforeActivation(activation, ToFloat(row.y.at[i]), dz);
          sums[i].of[0] += dz;
          sums[i].of[1] += dz * (ToFloat(row.x.at[i]) - mean[0][i]);
        }
      });
  StorePartials(plan, at, piece, sums, partials);
}

// dx = scale (dz - mean_dz - slope (x - mean)), each of these (channels). One row gives exactly 0.
struct Coefficients {
  float *scale, *mean_dz, *slope;
};

__global__ void __launch_bounds__(kJoinThreads)
    BatchNormBackwardJoinKernel(const Sums<2>* __restrict__ partials, int partial_rows,
                                int64_t rows, int channels, const float* __restrict__ saved,
                                const float* __restrict__ gamma, Coefficients coefficients,
                                float* __restrict__ dgamma, float* __restrict__ dbeta) {
  JoinPartials(partials, partial_rows, channels, [&](int channel, const Sums<2>& sums) {
    const float inverse_std = saved[channels + channel];
    const float of_gamma = sums.of[1] * inverse_std, of_beta = sums.of[0];
    const float count = static_cast<float>(rows);
    dgamma[channel] = of_gamma;
    dbeta[channel] = of_beta;
    coefficients.scale[channel] = gamma[channel] * inverse_std;
    coefficients.mean_dz[channel] = of_beta / count;
    coefficients.slope[channel] = of_gamma / count * inverse_std;
  });
}

template <typename T, bool kMasked>
__global__ void __launch_bounds__(kColumnThreads)
    BatchNormBackwardKernel(ColumnPlan plan, const T* __restrict__ x, const T* __restrict__ y,
                            const T* dy, const float* __restrict__ saved, Activation activation,
                            Coefficients coefficients, BatchNormGradients<T> gradients) {
  constexpr int kSize = Vector<T>::kSize;
  struct Row {
    Vector<T> x, y, dy, dx, dresidual;
  };
  const ColumnThread at = PlaceInColumns<kSize>(plan, PieceFromLast());
  float of_slot[4][kSize];
  SpreadOverSlots(
      plan,
      [&](int channel, float(&values)[4]) {
        values[0] = saved[channel];
        values[1] = coefficients.scale[channel];
        values[2] = coefficients.mean_dz[channel];
        values[3] = coefficients.slope[channel];
      },
      of_slot);
  const bool splits = gradients.dresidual != nullptr;
  ForEachRow<kSize, kBackwardBatch>(
      plan, at,
      [&](int64_t offset, int count) {
        Row row;
        row.x = Load<kSize>(x + offset, count);
        if constexpr (kMasked) row.y = Load<kSize>(y + offset, count);
        row.dy = Load<kSize>(dy + offset, count);
        row.dx = row.dresidual = {};
        if (gradients.accumulate) row.dx = Load<kSize>(gradients.dx + offset, count);
        if (splits && gradients.accumulate_residual) {
          row.dresidual = Load<kSize>(gradients.dresidual + offset, count);
        }
        return row;
      },
      [&](const Row& row, int64_t offset, int count) {
        Vector<T> dx, dresidual;
#pragma unroll
        for (int i = 0; i < kSize; ++i) {
          float dz = ToFloat(row.dy.at[i]);
          if constexpr (kMasked) dz = BeforeActivation(activation, ToFloat(row.y.at[i]), dz);
          const float distance = ToFloat(row.x.at[i]) - of_slot[0][i];
          const float gradient = of_slot[1][i] * (dz - of_slot[2][i] - of_slot[3][i] * distance);
          dx.at[i] = FromFloat<T>(ToFloat(row.dx.at[i]) + gradient);
          dresidual.at[i] = FromFloat<T>(ToFloat(row.dresidual.at[i]) + dz);
        }
        Store(gradients.dx + offset, dx, count);
        if (splits) Store(gradients.dresidual + offset, dresidual, count);
      });
}

void CheckEpsilon(const char* kernel, float epsilon) {
  if (epsilon >= 0) return;
  throw Error(std::string(kernel) + ": epsilon " + std::to_string(epsilon) +
              ", expected at least 0");
}

}  // namespace

int64_t BatchNormWorkspace(const BatchNormShape& shape) {
  CheckColumns("BatchNorm", shape.rows, shape.channels);
  const int64_t partials = MostPartials(shape.rows, shape.channels);
  constexpr int64_t kMoments = sizeof(Moments) / sizeof(float);
  constexpr int64_t kSums = sizeof(Sums<2>) / sizeof(float);
  constexpr int64_t kCoefficients = sizeof(Coefficients) / sizeof(float*);
  return std::max(kMoments * partials, kSums * partials + kCoefficients * shape.channels);
}

template <typename T>
void BatchNormStatistics(const BatchNormShape& shape, const T* x, float momentum, float epsilon,
                         float* workspace, float* saved, float* running_mean, float* running_var,
                         cudaStream_t stream) {
  constexpr const char* kKernel = "BatchNormStatistics";
  CheckColumns(kKernel, shape.rows, shape.channels);
  CheckEpsilon(kKernel, epsilon);
  if (!(momentum >= 0 && momentum <= 1)) {
    throw Error(std::string(kKernel) + ": momentum " + std::to_string(momentum) +
                ", expected 0 to 1");
  }
  CheckAligned(kKernel, "x", x);
  CheckAligned(kKernel, "the workspace", workspace);
  const ColumnPlan plan = PlanColumns(shape.rows, shape.channels, Vector<T>::kSize);
  auto* partials = reinterpret_cast<Moments*>(workspace);
  Launch(BatchNormStatisticsKernel<T>, plan.grid(), kColumnThreads, 0, stream, plan, x, partials);
  LaunchJoin(BatchNormStatisticsJoinKernel, shape.channels, stream, partials,
             plan.pieces * plan.fold, shape.rows, shape.channels, epsilon, saved,
             RunningStatistics{momentum, running_mean, running_var});
}

void BatchNormFromRunning(int channels, const float* running_mean, const float* running_var,
                          float epsilon, float* saved, cudaStream_t stream) {
  CheckColumns("BatchNormFromRunning", 1, channels);
  CheckEpsilon("BatchNormFromRunning", epsilon);
  Launch(BatchNormFromRunningKernel, Blocks(channels, kColumnThreads), kColumnThreads, 0, stream,
         channels, running_mean, running_var, epsilon, saved);
}

template <typename T>
void BatchNormApply(const BatchNormShape& shape, const T* x, const float* saved, const float* gamma,
                    const float* beta, const T* residual, Activation activation, T* y,
                    cudaStream_t stream) {
  constexpr const char* kKernel = "BatchNormApply";
  CheckColumns(kKernel, shape.rows, shape.channels);
  CheckActivation(kKernel, activation);
  CheckAligned(kKernel, "x", x);
  CheckAligned(kKernel, "the residual", residual);
  CheckAligned(kKernel, "y", y);
  const ColumnPlan plan = PlanColumns(shape.rows, shape.channels, Vector<T>::kSize);
  Launch(BatchNormApplyKernel<T>, plan.grid(), kColumnThreads, 0, stream, plan, x, saved, gamma,
         beta, residual, activation, y);
}

template <typename T>
void BatchNormBackward(const BatchNormShape& shape, const T* x, const T* y, const T* dy,
                       const float* saved, const float* gamma, Activation activation,
                       float* workspace, const BatchNormGradients<T>& gradients,
                       cudaStream_t stream) {
  constexpr const char* kKernel = "BatchNormBackward";
  CheckColumns(kKernel, shape.rows, shape.channels);
  CheckActivation(kKernel, activation);
  CheckOutputOfActivation(kKernel, activation, y);
  CheckAligned(kKernel, "x", x);
  CheckAligned(kKernel, "y", y);
  CheckAligned(kKernel, "dy", dy);
  CheckAligned(kKernel, "dx", gradients.dx);
  CheckAligned(kKernel, "dresidual", gradients.dresidual);
  CheckAligned(kKernel, "the workspace", workspace);
  if (gradients.dx == gradients.dresidual) {
    throw Error(std::string(kKernel) + ": dx and dresidual are the same, expected two buffers");
  }
  const ColumnPlan plan = PlanColumns(shape.rows, shape.channels, Vector<T>::kSize);
  auto* partials = reinterpret_cast<Sums<2>*>(workspace);
  float* const rest = reinterpret_cast<float*>(partials + plan.partials());
  const Coefficients coefficients{rest, rest + shape.channels, rest + 2 * int64_t{shape.channels}};
  Launch(
      activation.on ? BatchNormBackwardSumsKernel<T, true> : BatchNormBackwardSumsKernel<T, false>,
      plan.grid(), kColumnThreads, 0, stream, plan, x, y, dy, saved, activation, partials);
  LaunchJoin(BatchNormBackwardJoinKernel, shape.channels, stream, partials, plan.pieces * plan.fold,
             shape.rows, shape.channels, saved, gamma, coefficients, gradients.dgamma,
             gradients.dbeta);
  Launch(activation.on ? BatchNormBackwardKernel<T, true> : BatchNormBackwardKernel<T, false>,
         plan.grid(), kColumnThreads, 0, stream, plan, x, y, dy, saved, activation, coefficients,
         gradients);
}

#define TRAINYARD_INSTANTIATE(T)                                                                   \
  template void BatchNormStatistics(const BatchNormShape&, const T*, float, float, float*, float*, \
                                    float*, float*, cudaStream_t);                                 \
  template void BatchNormApply(const BatchNormShape&, const T*, const float*, const float*,        \
                               const float*, const T*, Activation, T*, cudaStream_t);              \
  template void BatchNormBackward(const BatchNormShape&, const T*, const T*, const T*,             \
                                  const float*, const float*, Activation, float*,                  \
                                  const BatchNormGradients<T>&, cudaStream_t);
TRAINYARD_INSTANTIATE(float)
TRAINYARD_INSTANTIATE(bf16)
#undef TRAINYARD_INSTANTIATE

}  // namespace trainyard::kernels::cuda
