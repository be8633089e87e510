#include <cmath>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/loss.h"
#include "kernels/cuda/reduce.h"

namespace trainyard::kernels::cuda {
namespace {

constexpr int kHeldThreads = 128;       // of a block that holds its rows in registers
constexpr int kThreadsPerRow = 256;     // of wider rows
constexpr int kReductionThreads = 256;  // of the sum over the batch

struct RowLoss {
  float loss;
  int32_t correct;
};

struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Max {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
struct Min {
  __device__ int operator()(int a, int b) const { return min(a, b); }
};

// A row held in the registers of kLanes lanes: lane i has classes i, i + kLanes, ...
template <typename T, int kLanes, int kPerLane>
struct HeldRow {
  float logits[kPerLane];
  int lane, classes;

  __device__ HeldRow(const T* row, int classes_of_row)
      : lane(threadIdx.x % kLanes), classes(classes_of_row) {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int at = lane + kLanes * i;
      logits[i] = at < classes ? ToFloat(row[at]) : 0;
    }
  }
  __device__ bool First() const { return lane == 0; }

  template <typename Visit>
  __device__ void ForEach(Visit visit) const {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (lane + kLanes * i < classes) visit(lane + kLanes * i, logits[i]);
    }
  }
  template <typename Value, typename Operation>
  __device__ Value Reduce(Value value, Operation operation) const {
    return OverLanes<kLanes>(value, operation);
  }
};

// A row that a block reads anew each time: the second time from a cache.
template <typename T>
struct ReadRow {
  const T* row;
  int classes;

  __device__ ReadRow(const T* row, int classes) : row(row), classes(classes) {}
  __device__ bool First() const { return threadIdx.x == 0; }

  template <typename Visit>
  __device__ void ForEach(Visit visit) const {
#pragma unroll 4
    for (int at = threadIdx.x; at < classes; at += kThreadsPerRow) visit(at, ToFloat(row[at]));
  }
  template <typename Value, typename Operation>
  __device__ Value Reduce(Value value, Operation operation) const {
    KERNEL_SHARED(Value, of_warp, [kThreadsPerRow / 32]);
    value = OverLanes<32>(value, operation);
    __syncthreads();  // what the last call left has been read
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    value = of_warp[0];
#pragma unroll
    for (int i = 1; i < kThreadsPerRow / 32; ++i) value = operation(value, of_warp[i]);
    return value;
  }
};

// All threads of a row come here; one of no classes gives nothing. of_label: the label's logit,
// read before any gradient is written.
template <typename T, typename Row>
__device__ __forceinline__ void LossOfRow(const Row& row, int label, float of_label,
                                          float smoothing, float per_batch, T* gradient,
                                          RowLoss* result) {
  float largest = -INFINITY;
  row.ForEach([&](int, float logit) { largest = fmaxf(largest, logit); });
  largest = row.Reduce(largest, Max());
  int best = row.classes;  // the first largest; -1 where a logit is NaN
  row.ForEach([&](int at, float logit) {
    if (logit == largest) best = min(best, at);
    if (std::isnan(logit)) best = -1;
  });
  best = row.Reduce(best, Min());

  float others = 0, sum = 0;  // exponentials of all but the best; logits; both below the largest
  row.ForEach([&](int at, float logit) {
    sum += logit - largest;
    if (at != best) others += expf(logit - largest);
  });
  others = row.Reduce(others, Add());
  sum = row.Reduce(sum, Add());
  const bool known = label >= 0 && label < row.classes;
  if (!known || best < 0 || std::isinf(largest)) others = NAN;

  const float uniform = smoothing / static_cast<float>(row.classes);
  if (row.First() && row.classes > 0) {
    const float expected_logit = (1 - smoothing) * (of_label - largest) + uniform * sum;
    *result = {log1pf(others) - expected_logit, known && best == label};
  }
  if (gradient == nullptr) return;
  const float inverse = 1 / (1 + others);
  row.ForEach([&](int at, float logit) {
    const float exponential = expf(logit - largest);
    float slope = exponential * inverse - uniform;
    if (at == label) {  // p - 1 would lose what p is short of one
      const float rest = at == best ? others : 1 + others - exponential;
      slope = smoothing - uniform - rest * inverse;
    }
    gradient[at] = FromFloat<T>(slope * per_batch);
  });
}

// Row n; from the batch on, a row of no classes. The tensors are not __restrict__: the gradient may
// be the logits.
template <typename T, typename Row>
__device__ __forceinline__ void LossOfRowAt(int n, int batch, int classes, const T* logits,
                                            const BatchSource* source, const int32_t* indices,
                                            const StepBlock* step, RowLoss* losses, T* gradient) {
  if (n >= batch) classes = 0;
  const int64_t start = int64_t{n} * classes;
  const int label = classes > 0 ? source->labels[indices[n]] : -1;
  const float of_label = label >= 0 && label < classes ? ToFloat(logits[start + label]) : NAN;
  const float smoothing = step == nullptr ? 0 : step->label_smoothing;
  LossOfRow(Row(logits + start, classes), label, of_label, smoothing, 1 / static_cast<float>(batch),
            gradient == nullptr ? nullptr : gradient + start, losses + n);
}

template <typename T, int kLanes, int kPerLane>
__global__ void __launch_bounds__(kHeldThreads)
    SoftmaxHeldRowsKernel(int batch, int classes, const T* logits,
                          const BatchSource* __restrict__ source,
                          const int32_t* __restrict__ indices, const StepBlock* __restrict__ step,
                          RowLoss* __restrict__ losses, T* gradient) {
  const int n = blockIdx.x * (kHeldThreads / kLanes) + threadIdx.x / kLanes;
  LossOfRowAt<T, HeldRow<T, kLanes, kPerLane>>(n, batch, classes, logits, source, indices, step,
                                               losses, gradient);
}

template <typename T>
__global__ void __launch_bounds__(kThreadsPerRow)
    SoftmaxReadRowsKernel(int batch, int classes, const T* logits,
                          const BatchSource* __restrict__ source,
                          const int32_t* __restrict__ indices, const StepBlock* __restrict__ step,
                          RowLoss* __restrict__ losses, T* gradient) {
  LossOfRowAt<T, ReadRow<T>>(blockIdx.x, batch, classes, logits, source, indices, step, losses,
                             gradient);
}

__global__ void __launch_bounds__(kReductionThreads)
    SumLossesKernel(int batch, const RowLoss* __restrict__ losses,
                    LossResult* __restrict__ result) {
  double loss = 0;
  int correct = 0;
#pragma unroll 4
  for (int n = threadIdx.x; n < batch; n += kReductionThreads) {
    loss += static_cast<double>(losses[n].loss);
    correct += losses[n].correct;
  }
  loss = BlockSum<kReductionThreads>(loss);
  correct = BlockSum<kReductionThreads>(correct);
  if (threadIdx.x == 0) *result = {loss, correct};
}

}  // namespace

template <typename T>
void SoftmaxCrossEntropy(int batch, int classes, const T* logits, const BatchSource* source,
                         const int32_t* indices, const StepBlock* step, void* workspace,
                         T* gradient, LossResult* result, cudaStream_t stream) {
  CheckPositive("SoftmaxCrossEntropy", "batch", batch);
  CheckPositive("SoftmaxCrossEntropy", "classes", classes);
  CheckAligned("SoftmaxCrossEntropy", "workspace", workspace);
  RowLoss* losses = static_cast<RowLoss*>(workspace);
  const auto launch = [&](auto kernel, int rows_per_block, int threads) {
    Launch(kernel, Blocks(batch, rows_per_block), threads, 0, stream, batch, classes, logits,
           source, indices, step, losses, gradient);
  };
  if (classes <= 4 * 4) {
    launch(SoftmaxHeldRowsKernel<T, 4, 4>, kHeldThreads / 4, kHeldThreads);
  } else if (classes <= 32 * 4) {
    launch(SoftmaxHeldRowsKernel<T, 32, 4>, kHeldThreads / 32, kHeldThreads);
  } else if (classes <= 32 * 12) {
    launch(SoftmaxHeldRowsKernel<T, 32, 12>, kHeldThreads / 32, kHeldThreads);
  } else if (classes <= 32 * 32) {
    launch(SoftmaxHeldRowsKernel<T, 32, 32>, kHeldThreads / 32, kHeldThreads);
  } else {
    launch(SoftmaxReadRowsKernel<T>, 1, kThreadsPerRow);
  }
  Launch(SumLossesKernel, 1, kReductionThreads, 0, stream, batch, losses, result);
}

int64_t LossWorkspaceBytes(int batch) { return int64_t{batch} * int64_t{sizeof(RowLoss)}; }

template void SoftmaxCrossEntropy(int, int, const float*, const BatchSource*, const int32_t*,
                                  const StepBlock*, void*, float*, LossResult*, cudaStream_t);
template void SoftmaxCrossEntropy(int, int, const bf16*, const BatchSource*, const int32_t*,
                                  const StepBlock*, void*, bf16*, LossResult*, cudaStream_t);

}  // namespace trainyard::kernels::cuda
