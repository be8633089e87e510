#include "tests/kernels/cuda/cases/depthwise_conv.h"

#include <string>

#include "tests/kernels/cuda/cases/conv_cases.h"

namespace trainyard::kernels::cuda::testing {
namespace {

// The products are fp32 for either type.
template <typename T>
ConvKernel Kernel(const char* pass, double tolerance = kTolerance<T>) {
  return {std::string(pass) + " " + TypeName<T>(), Precision::kFp32, tolerance};
}

}  // namespace

template <typename T>
KernelCase DepthwiseForwardCase(const ConvShape& shape, bool bias, Activation activation,
                                uint64_t seed) {
  return ForwardCase<T>(Kernel<T>("DepthwiseForward"), shape, bias, activation, seed,
                        [=](const T* x, const T* w, const float* b, T* y, cudaStream_t stream) {
                          DepthwiseForward(shape, x, w, b, activation, y, stream);
                        });
}

template <typename T>
KernelCase DepthwiseBackwardDataCase(const ConvShape& shape, bool accumulate, uint64_t seed) {
  return BackwardDataCase<T>(Kernel<T>("DepthwiseBackwardData"), shape, accumulate, seed,
                             [=](const T* dy, const T* w, T* dx, cudaStream_t stream) {
                               DepthwiseBackwardData(shape, dy, w, accumulate, dx, stream);
                             });
}

template <typename T>
KernelCase DepthwiseBackwardFilterCase(const ConvShape& shape, uint64_t seed) {
  return BackwardFilterCase<T>(
      Kernel<T>("DepthwiseBackwardFilter", kToleranceFp32), shape,
      DepthwiseBackwardFilterWorkspace(shape), seed,
      [=](const T* x, const T* dy, float* workspace, float* dw, cudaStream_t stream) {
        DepthwiseBackwardFilter(shape, x, dy, workspace, dw, stream);
      });
}

std::vector<KernelCase> DepthwiseTableCases() {
  const auto shape = [](int batch, int side, int channels, int kernel, int stride) {
    ConvShape windows = SameWindows(batch, side, channels, channels, kernel, stride);
    windows.groups = channels;
    return windows;
  };
  const Activation relu{true, 0};
  return {
      DepthwiseForwardCase<bf16>(shape(512, 32, 64, 3, 1), true, relu, 1),
      DepthwiseForwardCase<bf16>(shape(512, 32, 64, 3, 2), true, relu, 2),
      DepthwiseForwardCase<float>(shape(512, 32, 64, 3, 1), true, relu, 3),
      DepthwiseBackwardDataCase<bf16>(shape(512, 32, 64, 3, 1), false, 4),
      DepthwiseBackwardDataCase<bf16>(shape(512, 32, 64, 3, 2), false, 5),
      DepthwiseBackwardFilterCase<bf16>(shape(512, 32, 64, 3, 1), 6),
      DepthwiseBackwardFilterCase<float>(shape(512, 32, 64, 3, 1), 7),
      DepthwiseForwardCase<bf16>(shape(128, 32, 64, 7, 1), true, relu, 8),
  };
}

#define INSTANTIATE(T)                                                                       \
  template KernelCase DepthwiseForwardCase<T>(const ConvShape&, bool, Activation, uint64_t); \
  template KernelCase DepthwiseBackwardDataCase<T>(const ConvShape&, bool, uint64_t);        \
  template KernelCase DepthwiseBackwardFilterCase<T>(const ConvShape&, uint64_t)
INSTANTIATE(float);
INSTANTIATE(bf16);
#undef INSTANTIATE

}  // namespace trainyard::kernels::cuda::testing
