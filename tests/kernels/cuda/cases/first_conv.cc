#include "tests/kernels/cuda/cases/first_conv.h"

#include <string>

#include "tests/kernels/cuda/cases/conv_cases.h"

namespace trainyard::kernels::cuda::testing {
namespace {

template <typename T>
ConvKernel Kernel(const char* pass, double tolerance = kTolerance<T>) {
  return {std::string(pass) + " " + TypeName<T>(),
          sizeof(T) == 4 ? Precision::kFp32 : Precision::kBf16, tolerance};
}

}  // namespace

template <typename T>
KernelCase FirstConvForwardCase(const ConvShape& shape, bool bias, Activation activation,
                                uint64_t seed) {
  return ForwardCase<T>(Kernel<T>("FirstConvForward"), shape, bias, activation, seed,
                        [=](const T* x, const T* w, const float* b, T* y, cudaStream_t stream) {
                          FirstConvForward(shape, x, w, b, activation, y, stream);
                        });
}

template <typename T>
KernelCase FirstConvBackwardFilterCase(const ConvShape& shape, uint64_t seed) {
  return BackwardFilterCase<T>(
      Kernel<T>("FirstConvBackwardFilter", kToleranceFp32), shape,
      FirstConvBackwardFilterWorkspace(shape), seed,
      [=](const T* x, const T* dy, float* workspace, float* dw, cudaStream_t stream) {
        FirstConvBackwardFilter(shape, x, dy, workspace, dw, stream);
      });
}

std::vector<KernelCase> FirstConvTableCases() {
  const ConvShape small = SameWindows(512, 32, 3, 64, 3, 1);
  const ConvShape grey = SameWindows(1024, 28, 1, 32, 5, 1);
  const ConvShape large = SameWindows(16, 224, 3, 64, 7, 2);
  const Activation relu{true, 0};
  return {
      FirstConvForwardCase<bf16>(small, true, relu, 1),
      FirstConvForwardCase<bf16>(grey, true, relu, 2),
      FirstConvForwardCase<bf16>(large, false, {}, 3),
      FirstConvForwardCase<float>(small, true, relu, 4),
      FirstConvBackwardFilterCase<bf16>(small, 5),
      FirstConvBackwardFilterCase<bf16>(grey, 6),
      FirstConvBackwardFilterCase<bf16>(large, 7),
      FirstConvBackwardFilterCase<float>(small, 8),
  };
}

#define INSTANTIATE(T)                                                                       \
  template KernelCase FirstConvForwardCase<T>(const ConvShape&, bool, Activation, uint64_t); \
  template KernelCase FirstConvBackwardFilterCase<T>(const ConvShape&, uint64_t)
INSTANTIATE(float);
INSTANTIATE(bf16);
#undef INSTANTIATE

}  // namespace trainyard::kernels::cuda::testing
