// One kernel on one shape, with what it should give: checked by the tests on small shapes under
// several schedules, and by the device table on large ones with its time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/kernels/cuda/support/device_array.h"

namespace trainyard::kernels::cuda::testing {

#if defined(TRAINYARD_SMALL_SHAPES)
constexpr bool kSmallShapes = true;  // the race detector's build is slow
#else
constexpr bool kSmallShapes = false;
#endif

// Relative L2 against float64 loops over the same (rounded) inputs.
constexpr double kToleranceFp32 = 1e-5, kToleranceTf32 = 1e-3, kToleranceBf16 = 1e-2;
template <typename T>
constexpr double kTolerance = sizeof(T) == 4 ? kToleranceFp32 : kToleranceBf16;
// One wrong element of many hardly moves the L2. So each must be within this many tolerances,
// relative to the larger of what is expected there and the root mean square of all that is. Most
// kernels need less than half of one; TF32's filter gradients 4, where some taps see padding only.
constexpr double kElementTolerance = 5;

struct KernelCase {
  struct Output {
    std::string name;
    std::vector<double> expected;
    double tolerance = 0;           // 0: equal, element by element (NaN equals NaN)
    std::function<void()> prepare;  // poisons it, or writes what is accumulated to
    std::function<std::vector<double>()> read;
  };
  std::string name;                          // "BatchNormApply bf16 128x32x32x64"
  std::function<void(cudaStream_t)> launch;  // may be called again after `prepare`
  std::vector<Output> outputs;
  // The least it must do: bytes moved through device memory, floating-point operations.
  double bytes = 0, flops = 0;
  Precision arithmetic = Precision::kFp32;  // which peak the operations are held against

  // An output that must be written whole: poisoned before, compared after.
  template <typename T>
  void Expect(const std::string& what, const Shared<T>& array, std::vector<double> expected,
              double tolerance = kTolerance<T>) {
    outputs.push_back({what, std::move(expected), tolerance, [array] { array->Poison(); },
                       [array] { return Widen(array->Read()); }});
  }
  // An output that is read too: it starts as `before`.
  template <typename T>
  void ExpectFrom(const std::string& what, const Shared<T>& array, const std::vector<T>& before,
                  std::vector<double> expected, double tolerance = kTolerance<T>) {
    outputs.push_back({what, std::move(expected), tolerance,
                       [array, before] { array->Write(before); },
                       [array] { return Widen(array->Read()); }});
  }
};

// Runs the case under every schedule, the last time from a captured graph, and compares: with what
// is expected, as a whole and each element, and all runs bit for bit. Empty if all is well, else
// what is wrong.
std::string Problem(const KernelCase& kernel);

// The largest relative L2 error of the outputs of one run. NaN where one was not written.
double Error(const KernelCase& kernel);

// Shapes, and normal values, from a seed.
class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}
  int Between(int first, int last) {
    return first + static_cast<int>(random_() % static_cast<uint64_t>(last - first + 1));
  }
  bool Chance(int percent) { return Between(0, 99) < percent; }
  template <typename T>
  T OneOf(std::initializer_list<T> values) {
    return values.begin()[Between(0, static_cast<int>(values.size()) - 1)];
  }
  std::vector<float> Normal(int64_t count, float mean = 0, float deviation = 1);

 private:
  std::mt19937_64 random_;
};

template <typename T>
std::string TypeName() {
  return sizeof(T) == 4 ? "fp32" : "bf16";
}

}  // namespace trainyard::kernels::cuda::testing
