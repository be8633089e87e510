#include <string>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/columns.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vectors.h"

namespace trainyard::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBatch = 4;  // vectors of each input that a thread has in flight

struct Activated {
  Activation activation;
  __device__ float operator()(const float (&in)[1]) const { return Activate(activation, in[0]); }
};

struct SumActivated {
  Activation activation;
  __device__ float operator()(const float (&in)[2]) const {
    return Activate(activation, in[0] + in[1]);
  }
};

// Of (y, dy) or, where it is added to, of (y, dy, dx).
template <int kInputs>
struct GradientBefore {
  Activation activation;
  __device__ float operator()(const float (&in)[kInputs]) const {
    const float gradient = BeforeActivation(activation, in[0], in[1]);
    return kInputs == 3 ? in[kInputs - 1] + gradient : gradient;
  }
};

template <typename T, int kInputs>
struct Inputs {
  const T* at[kInputs];
};

template <typename T, int kInputs, typename Function>
__device__ __forceinline__ Vector<T> MapVector(Function function, const Vector<T> (&in)[kInputs]) {
  Vector<T> out;
#pragma unroll
  for (int i = 0; i < Vector<T>::kSize; ++i) {
    float values[kInputs];
#pragma unroll
    for (int k = 0; k < kInputs; ++k) values[k] = ToFloat(in[k].at[i]);
    out.at[i] = FromFloat<T>(function(values));
  }
  return out;
}

// out[i] = function(inputs[i]). `out` may be one of the inputs: an element is written by the thread
// that has read it.
template <int kInputs, typename T, typename Function>
__global__ void __launch_bounds__(kThreads)
    MapKernel(Function function, Inputs<T, kInputs> inputs, int64_t count, T* out) {
  constexpr int kSize = Vector<T>::kSize, kStride = kThreads * kSize;
  const int64_t begin = int64_t{blockIdx.x} * (kBatch * kStride);
  int64_t at = begin + threadIdx.x * kSize;
  if (begin + kBatch * kStride <= count) {
    Vector<T> in[kBatch][kInputs];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
#pragma unroll
      for (int k = 0; k < kInputs; ++k) in[b][k] = Load<kSize>(inputs.at[k] + at + b * kStride);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      Store(out + at + b * kStride, MapVector(function, in[b]));
    }
    return;
  }
#pragma unroll 1
  for (; at < count; at += kStride) {
    const int valid = static_cast<int>(min(count - at, int64_t{kSize}));
    Vector<T> in[kInputs];
#pragma unroll
    for (int k = 0; k < kInputs; ++k) in[k] = Load<kSize>(inputs.at[k] + at, valid);
    Store(out + at, MapVector(function, in), valid);
  }
}

// A vector of floats each, so that stores are of 16 bytes.
__global__ void __launch_bounds__(kThreads)
    WidenBf16Kernel(const bf16* __restrict__ x, int64_t count, float* __restrict__ y) {
  constexpr int kSize = Vector<float>::kSize;
  const int64_t at = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kSize;
  if (at >= count) return;
  const int valid = static_cast<int>(min(count - at, int64_t{kSize}));
  const Vector<bf16, kSize> in = Load<kSize>(x + at, valid);
  Vector<float> out;
#pragma unroll
  for (int i = 0; i < kSize; ++i) out.at[i] = ToFloat(in.at[i]);
  Store(y + at, out, valid);
}

template <typename T>
__global__ void __launch_bounds__(kColumnThreads)
    BiasForwardKernel(ColumnPlan plan, const T* x, const float* __restrict__ bias,
                      Activation activation, T* y) {
  constexpr int kSize = Vector<T>::kSize;
  const ColumnThread at = PlaceInColumns<kSize>(plan, static_cast<int>(blockIdx.y));
  float of_slot[1][kSize];
  SpreadOverSlots(
      plan, [&](int channel, float(&value)[1]) { value[0] = bias[channel]; }, of_slot);
  ForEachRow<kSize, kBatch>(
      plan, at, [&](int64_t offset, int count) { return Load<kSize>(x + offset, count); },
      [&](Vector<T> v, int64_t offset, int count) {
#pragma unroll
        for (int i = 0; i < kSize; ++i) {
          v.at[i] = FromFloat<T>(Activate(activation, ToFloat(v.at[i]) + of_slot[0][i]));
        }
        Store(y + offset, v, count);
      });
}

// kMasked: the activation is on, and y says where. dz: null, or may be dy.
template <typename T, bool kMasked>
__global__ void __launch_bounds__(kColumnThreads, 3)
    BiasBackwardKernel(ColumnPlan plan, const T* __restrict__ y, const T* dy, Activation activation,
                       T* dz, Sums<1>* __restrict__ partials) {
  constexpr int kSize = Vector<T>::kSize;
  struct Row {
    Vector<T> y, dy;
  };
  const int piece = static_cast<int>(blockIdx.y);
  const ColumnThread at = PlaceInColumns<kSize>(plan, piece);
  Sums<1> sums[kSize] = {};
  ForEachRow<kSize, kBatch>(
      plan, at,
      [&](int64_t offset, int count) {
        Row row;
        row.dy = Load<kSize>(dy + offset, count);
        if constexpr (kMasked) row.y = Load<kSize>(y + offset, count);
        return row;
      },
      [&](const Row& row, int64_t offset, int count) {
        Vector<T> result;
#pragma unroll
        for (int i = 0; i < kSize; ++i) {
          float gradient = ToFloat(row.dy.at[i]);
          if constexpr (kMasked) {
            gradient = BeforeActivation(activation, ToFloat(row.y.at[i]), gradient);
          }
          sums[i].of[0] += gradient;
          result.at[i] = FromFloat<T>(gradient);
        }
        if (dz != nullptr) Store(dz + offset, result, count);
      });
  StorePartials(plan, at, piece, sums, partials);
}

__global__ void __launch_bounds__(kJoinThreads)
    BiasJoinKernel(const Sums<1>* __restrict__ partials, int rows, int channels,
                   float* __restrict__ dbias) {
  JoinPartials(partials, rows, channels,
               [&](int channel, const Sums<1>& sum) { dbias[channel] = sum.of[0]; });
}

void CheckCount(const char* kernel, int64_t count, int64_t per_block) {
  constexpr int64_t kMostBlocks = (int64_t{1} << 31) - 1;
  if (count >= 1 && count <= kMostBlocks * per_block) return;
  throw Error(std::string(kernel) + ": " + std::to_string(count) + " elements, expected 1 to " +
              std::to_string(kMostBlocks * per_block));
}

template <int kInputs, typename T, typename Function>
void Map(const char* kernel, Function function, const Inputs<T, kInputs>& inputs, int64_t count,
         T* out, cudaStream_t stream) {
  constexpr int64_t kPerBlock = int64_t{kThreads} * kBatch * Vector<T>::kSize;
  CheckCount(kernel, count, kPerBlock);
  for (const T* input : inputs.at) CheckAligned(kernel, "an input", input);
  CheckAligned(kernel, "the output", out);
  Launch(MapKernel<kInputs, T, Function>, Blocks(count, kPerBlock), kThreads, 0, stream, function,
         inputs, count, out);
}

}  // namespace

template <typename T>
void ActivationForward(const T* x, Activation activation, int64_t count, T* y,
                       cudaStream_t stream) {
  CheckActivation("ActivationForward", activation);
  Map("ActivationForward", Activated{activation}, Inputs<T, 1>{{x}}, count, y, stream);
}

template <typename T>
void ActivationBackward(const T* y, const T* dy, Activation activation, bool accumulate,
                        int64_t count, T* dx, cudaStream_t stream) {
  constexpr const char* kKernel = "ActivationBackward";
  CheckActivation(kKernel, activation);
  CheckOutputOfActivation(kKernel, activation, y);
  if (activation.on && accumulate) {
    Map(kKernel, GradientBefore<3>{activation}, Inputs<T, 3>{{y, dy, dx}}, count, dx, stream);
  } else if (activation.on) {
    Map(kKernel, GradientBefore<2>{activation}, Inputs<T, 2>{{y, dy}}, count, dx, stream);
  } else if (accumulate) {
    Map(kKernel, SumActivated{activation}, Inputs<T, 2>{{dx, dy}}, count, dx, stream);
  } else {
    Map(kKernel, Activated{activation}, Inputs<T, 1>{{dy}}, count, dx, stream);
  }
}

template <typename T>
void AddForward(const T* a, const T* b, Activation activation, int64_t count, T* y,
                cudaStream_t stream) {
  CheckActivation("AddForward", activation);
  Map("AddForward", SumActivated{activation}, Inputs<T, 2>{{a, b}}, count, y, stream);
}

void WidenBf16(const bf16* x, int64_t count, float* y, cudaStream_t stream) {
  constexpr int64_t kPerBlock = int64_t{kThreads} * Vector<float>::kSize;
  CheckCount("WidenBf16", count, kPerBlock);
  CheckAligned("WidenBf16", "x", x);
  CheckAligned("WidenBf16", "y", y);
  Launch(WidenBf16Kernel, Blocks(count, kPerBlock), kThreads, 0, stream, x, count, y);
}

template <typename T>
void BiasForward(const T* x, const float* bias, Activation activation, int64_t rows, int channels,
                 T* y, cudaStream_t stream) {
  constexpr const char* kKernel = "BiasForward";
  CheckColumns(kKernel, rows, channels);
  CheckActivation(kKernel, activation);
  CheckAligned(kKernel, "x", x);
  CheckAligned(kKernel, "y", y);
  const ColumnPlan plan = PlanColumns(rows, channels, Vector<T>::kSize);
  Launch(BiasForwardKernel<T>, plan.grid(), kColumnThreads, 0, stream, plan, x, bias, activation,
         y);
}

int64_t BiasBackwardWorkspace(int64_t rows, int channels) {
  CheckColumns("BiasBackward", rows, channels);
  return MostPartials(rows, channels);
}

template <typename T>
void BiasBackward(const T* y, const T* dy, Activation activation, int64_t rows, int channels, T* dz,
                  float* workspace, float* dbias, cudaStream_t stream) {
  constexpr const char* kKernel = "BiasBackward";
  CheckColumns(kKernel, rows, channels);
  CheckActivation(kKernel, activation);
  CheckOutputOfActivation(kKernel, activation, y);
  CheckAligned(kKernel, "y", y);
  CheckAligned(kKernel, "dy", dy);
  CheckAligned(kKernel, "dz", dz);
  CheckAligned(kKernel, "the workspace", workspace);
  const ColumnPlan plan = PlanColumns(rows, channels, Vector<T>::kSize);
  auto* partials = reinterpret_cast<Sums<1>*>(workspace);
  T* const to = !activation.on && dz == dy ? nullptr : dz;  // there already
  Launch(activation.on ? BiasBackwardKernel<T, true> : BiasBackwardKernel<T, false>, plan.grid(),
         kColumnThreads, 0, stream, plan, y, dy, activation, to, partials);
  LaunchJoin(BiasJoinKernel, channels, stream, partials, plan.pieces * plan.fold, channels, dbias);
}

#define TRAINYARD_INSTANTIATE(T)                                                                 \
  template void ActivationForward(const T*, Activation, int64_t, T*, cudaStream_t);              \
  template void ActivationBackward(const T*, const T*, Activation, bool, int64_t, T*,            \
                                   cudaStream_t);                                                \
  template void AddForward(const T*, const T*, Activation, int64_t, T*, cudaStream_t);           \
  template void BiasForward(const T*, const float*, Activation, int64_t, int, T*, cudaStream_t); \
  template void BiasBackward(const T*, const T*, Activation, int64_t, int, T*, float*, float*,   \
                             cudaStream_t);
TRAINYARD_INSTANTIATE(float)
TRAINYARD_INSTANTIATE(bf16)
#undef TRAINYARD_INSTANTIATE

}  // namespace trainyard::kernels::cuda
