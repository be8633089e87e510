// Memory that kernels read and write, on a GPU or on the emulated machine, of exactly the size
// asked for: one element beyond it is an overrun that sanitizers see.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cuda/check.h"
#include "kernels/cuda/resources.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda::testing {

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(int64_t count)
      : memory_("a test's array", count * static_cast<int64_t>(sizeof(T))), count_(count) {
    Poison();
  }
  explicit DeviceArray(const std::vector<T>& values)
      : DeviceArray(static_cast<int64_t>(values.size())) {
    Write(values);
  }

  T* data() const { return reinterpret_cast<T*>(memory_.data()); }
  int64_t count() const { return count_; }

  // Every byte 0xff: NaN as float and bf16, -1 as an integer.
  void Poison() {
    CheckCuda(cudaMemsetAsync(data(), 0xff, count_ * sizeof(T), nullptr), "cudaMemset");
  }
  void Write(const std::vector<T>& values) {
    CheckCuda(
        cudaMemcpyAsync(data(), values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice, nullptr),
        "cudaMemcpy");
    CheckCuda(cudaDeviceSynchronize(), "cudaMemcpy");
  }
  std::vector<T> Read() const {
    std::vector<T> values(count_);
    CheckCuda(
        cudaMemcpyAsync(values.data(), data(), count_ * sizeof(T), cudaMemcpyDeviceToHost, nullptr),
        "cudaMemcpy");
    CheckCuda(cudaDeviceSynchronize(), "cudaMemcpy");
    return values;
  }

 private:
  DeviceMemory memory_;
  int64_t count_;
};

// Shared, because the functions of a KernelCase hold on to what they work on.
template <typename T>
using Shared = std::shared_ptr<DeviceArray<T>>;

template <typename T>
Shared<T> Allocate(int64_t count) {
  return std::make_shared<DeviceArray<T>>(count);
}

template <typename T>
Shared<T> Upload(const std::vector<T>& values) {
  return std::make_shared<DeviceArray<T>>(values);
}

// Values rounded to T, and T's values as doubles: what an oracle must compute with.
template <typename T>
std::vector<T> Round(const std::vector<float>& values) {
  std::vector<T> rounded(values.size());
  for (size_t i = 0; i < values.size(); ++i) rounded[i] = FromFloat<T>(values[i]);
  return rounded;
}

inline double Widen(float value) { return value; }
inline double Widen(double value) { return value; }
inline double Widen(bf16 value) { return ToFloat(value); }
template <typename T>
double Widen(T integer) {
  return static_cast<double>(integer);
}

template <typename T>
std::vector<double> Widen(const std::vector<T>& values) {
  std::vector<double> wide(values.size());
  for (size_t i = 0; i < values.size(); ++i) wide[i] = Widen(values[i]);
  return wide;
}

}  // namespace trainyard::kernels::cuda::testing
