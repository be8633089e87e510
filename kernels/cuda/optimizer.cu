#include <algorithm>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/vectors.h"

namespace trainyard::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kVectorsPerThread = 4;  // that the norm adds up before it needs more blocks
constexpr int kMostPartials = 1024;   // from there on blocks do more: about one wave of them
constexpr int kSize = Vector<float>::kSize;

__global__ void __launch_bounds__(kThreads)
    GradientSquaresKernel(const float* __restrict__ gradients, int64_t vectors,
                          double* __restrict__ partials) {
  double sum = 0;
#pragma unroll 4
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < vectors;
       i += int64_t{gridDim.x} * kThreads) {
    const auto vector = Load<kSize>(gradients + i * kSize);
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      const double g = static_cast<double>(vector.at[j]);
      sum += g * g;
    }
  }
  sum = BlockSum<kThreads>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    GradientNormKernel(const double* __restrict__ partials, int count, double* __restrict__ norm) {
  double sum = 0;
#pragma unroll
  for (int i = 0; i < kMostPartials / kThreads; ++i) {
    const int at = i * kThreads + static_cast<int>(threadIdx.x);
    if (at < count) sum += partials[at];
  }
  sum = BlockSum<kThreads>(sum);
  if (threadIdx.x == 0) *norm = sqrt(sum);
}

// What holds for every element of a step.
struct Update {
  StepBlock step;
  float clip;

  __device__ void Sgd(float gradient, float decay, float* parameter, float* moment) const {
    const float g = gradient * clip + decay * *parameter;
    const float m = step.momentum * *moment + g;
    *moment = m;
    *parameter -= step.learning_rate * (step.nesterov != 0 ? g + step.momentum * m : m);
  }
  __device__ void AdamW(float gradient, float decay, float* parameter, float* moment1,
                        float* moment2) const {
    const float g = gradient * clip;
    const float m = step.beta1 * *moment1 + (1 - step.beta1) * g;
    const float v = step.beta2 * *moment2 + (1 - step.beta2) * g * g;
    *moment1 = m;
    *moment2 = v;
    const float direction = m / step.correction1 / (sqrtf(v / step.correction2) + step.epsilon);
    *parameter -= step.learning_rate * (direction + decay * *parameter);
  }
};

// A thread has one vector: its block is kSpanBlock's, so is its decay.
__global__ void __launch_bounds__(kThreads)
    OptimizerKernel(const StepBlock* __restrict__ step, const double* __restrict__ norm,
                    int64_t vectors, const Vector<float>* __restrict__ gradients,
                    const uint8_t* __restrict__ decays, Vector<float>* __restrict__ parameters,
                    Vector<float>* __restrict__ moments1, Vector<float>* __restrict__ moments2,
                    uint2* __restrict__ copies) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= vectors) return;
  const Vector<float> gradient = gradients[at];
  Vector<float> parameter = parameters[at], moment1 = moments1[at];
  Update update{*step, 1};
  const double limit = static_cast<double>(update.step.clip_norm);
  if (limit > 0 && *norm > limit) update.clip = static_cast<float>(limit / *norm);
  const float decay = decays[at / (kSpanBlock / kSize)] != 0 ? update.step.weight_decay : 0;
  if (update.step.adamw != 0) {
    Vector<float> moment2 = moments2[at];
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      update.AdamW(gradient.at[i], decay, &parameter.at[i], &moment1.at[i], &moment2.at[i]);
    }
    moments2[at] = moment2;
  } else {
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      update.Sgd(gradient.at[i], decay, &parameter.at[i], &moment1.at[i]);
    }
  }
  moments1[at] = moment1;
  parameters[at] = parameter;
  if (copies != nullptr) {
    copies[at] = make_uint2(PackBf16(parameter.at[0], parameter.at[1]),
                            PackBf16(parameter.at[2], parameter.at[3]));
  }
}

void CheckSpan(const char* kernel, int64_t count) {
  if (count > 0 && count % kSpanBlock == 0) return;
  throw Error(std::string(kernel) + ": the span has " + std::to_string(count) +
              " elements, expected a multiple of " + std::to_string(kSpanBlock) + " above 0");
}

}  // namespace

int64_t GradientNormWorkspace(int64_t count) {
  CheckSpan("GradientNorm", count);
  return std::min<int64_t>(kMostPartials, CeilDivide(count / kSize, kThreads * kVectorsPerThread));
}

void GradientNorm(const float* gradients, int64_t count, double* workspace, double* norm,
                  cudaStream_t stream) {
  const auto partials = static_cast<int>(GradientNormWorkspace(count));
  CheckAligned("GradientNorm", "gradients", gradients);
  CheckAligned("GradientNorm", "workspace", workspace);
  Launch(GradientSquaresKernel, partials, kThreads, 0, stream, gradients, count / kSize, workspace);
  Launch(GradientNormKernel, 1, kThreads, 0, stream, workspace, partials, norm);
}

void OptimizerStep(const StepBlock* step, const double* norm, const OptimizerSpans& spans,
                   cudaStream_t stream) {
  CheckSpan("OptimizerStep", spans.count);
  CheckAligned("OptimizerStep", "gradients", spans.gradients);
  CheckAligned("OptimizerStep", "parameters", spans.parameters);
  CheckAligned("OptimizerStep", "moment1", spans.moment1);
  CheckAligned("OptimizerStep", "moment2", spans.moment2);
  CheckAligned("OptimizerStep", "copy", spans.copy);
  const int64_t vectors = spans.count / kSize;
  CheckIndexable("OptimizerStep", "grid", CeilDivide(vectors, kThreads));
  const auto as_vectors = [](float* values) { return reinterpret_cast<Vector<float>*>(values); };
  Launch(OptimizerKernel, Blocks(vectors, kThreads), kThreads, 0, stream, step, norm, vectors,
         reinterpret_cast<const Vector<float>*>(spans.gradients), spans.decays,
         as_vectors(spans.parameters), as_vectors(spans.moment1), as_vectors(spans.moment2),
         reinterpret_cast<uint2*>(spans.copy));
}

}  // namespace trainyard::kernels::cuda
