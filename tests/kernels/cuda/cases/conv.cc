#include "tests/kernels/cuda/cases/conv.h"

#include <algorithm>
#include <string>

#include "tests/kernels/cuda/cases/conv_cases.h"

namespace trainyard::kernels::cuda::testing {
namespace {

ConvKernel Kernel(const char* pass, Precision precision) {
  const char* names[] = {" fp32", " tf32", " bf16"};
  return {pass + std::string(names[static_cast<int>(precision)]), precision,
          ConvTolerance(precision)};
}

}  // namespace

double ConvTolerance(Precision precision) {
  if (precision == Precision::kFp32) return kToleranceFp32;
  return precision == Precision::kTf32 ? kToleranceTf32 : kToleranceBf16;
}

template <typename T>
KernelCase ConvForwardCase(const ConvShape& shape, Precision precision, bool bias,
                           Activation activation, uint64_t seed) {
  return ForwardCase<T>(Kernel("ConvForward", precision), shape, bias, activation, seed,
                        [=](const T* x, const T* w, const float* b, T* y, cudaStream_t stream) {
                          ConvForward(shape, precision, x, w, b, activation, y, stream);
                        });
}

template <typename T>
KernelCase ConvBackwardDataCase(const ConvShape& shape, Precision precision, bool accumulate,
                                uint64_t seed) {
  return BackwardDataCase<T>(Kernel("ConvBackwardData", precision), shape, accumulate, seed,
                             [=](const T* dy, const T* w, T* dx, cudaStream_t stream) {
                               ConvBackwardData(shape, precision, dy, w, accumulate, dx, stream);
                             });
}

template <typename T>
KernelCase ConvBackwardFilterCase(const ConvShape& shape, Precision precision, uint64_t seed) {
  return BackwardFilterCase<T>(
      Kernel("ConvBackwardFilter", precision), shape,
      std::max<int64_t>(1, ConvBackwardFilterWorkspace(shape)), seed,
      [=](const T* x, const T* dy, float* workspace, float* dw, cudaStream_t stream) {
        ConvBackwardFilter(shape, precision, x, dy, workspace, dw, stream);
      });
}

std::vector<KernelCase> ConvTableCases() {
  // Enough pixels for large tiles. 3x3, 64 to 64 channels: 1.4 G multiply-adds
  ConvShape same;
  same.batch = 36;
  same.in_h = same.in_w = same.out_h = same.out_w = 32;
  same.in_c = same.out_c = 64;
  same.kernel_h = same.kernel_w = 3;
  same.pad_top = same.pad_left = 1;
  ConvShape wide = same;  // 1x1, stride 2, 256 to 512 channels
  wide.batch = 68;
  wide.in_h = wide.in_w = 16;
  wide.out_h = wide.out_w = 8;
  wide.in_c = 256, wide.out_c = 512;
  wide.kernel_h = wide.kernel_w = 1;
  wide.stride_h = wide.stride_w = 2;
  wide.pad_top = wide.pad_left = 0;
  const Activation relu = {true, 0};
  return {
      ConvForwardCase<float>(same, Precision::kFp32, true, relu, 1),
      ConvForwardCase<float>(same, Precision::kTf32, true, relu, 2),
      ConvForwardCase<bf16>(same, Precision::kBf16, true, relu, 3),
      ConvForwardCase<bf16>(wide, Precision::kBf16, true, relu, 4),
      ConvBackwardDataCase<float>(same, Precision::kFp32, false, 9),
      ConvBackwardDataCase<float>(same, Precision::kTf32, false, 10),
      ConvBackwardDataCase<bf16>(same, Precision::kBf16, false, 5),
      ConvBackwardDataCase<bf16>(wide, Precision::kBf16, false, 6),
      ConvBackwardFilterCase<float>(same, Precision::kFp32, 11),
      ConvBackwardFilterCase<float>(same, Precision::kTf32, 12),
      ConvBackwardFilterCase<bf16>(same, Precision::kBf16, 7),
      ConvBackwardFilterCase<bf16>(wide, Precision::kBf16, 8),
  };
}

template KernelCase ConvForwardCase<float>(const ConvShape&, Precision, bool, Activation, uint64_t);
template KernelCase ConvForwardCase<bf16>(const ConvShape&, Precision, bool, Activation, uint64_t);
template KernelCase ConvBackwardDataCase<float>(const ConvShape&, Precision, bool, uint64_t);
template KernelCase ConvBackwardDataCase<bf16>(const ConvShape&, Precision, bool, uint64_t);
template KernelCase ConvBackwardFilterCase<float>(const ConvShape&, Precision, uint64_t);
template KernelCase ConvBackwardFilterCase<bf16>(const ConvShape&, Precision, uint64_t);

}  // namespace trainyard::kernels::cuda::testing
