#include "kernels/cuda/check.h"

#include <string>

#include "kernels/backend.h"

namespace trainyard::kernels::cuda {
namespace {

[[noreturn]] void Refuse(const char* kernel, const std::string& what) {
  throw Error(std::string(kernel) + ": " + what);
}

}  // namespace

void CheckCuda(cudaError_t status, const char* doing) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // told here, so that the next launch is not blamed for it
  throw Error(std::string(doing) + ": " + cudaGetErrorString(status));
}

void CheckPositive(const char* kernel, const std::string& name, int value) {
  if (value >= 1) return;
  Refuse(kernel, name + " = " + std::to_string(value) + ", expected at least 1");
}

void CheckIndexable(const char* kernel, const char* tensor, int64_t count) {
  if (count >= 1 && count < int64_t{1} << 31) return;
  Refuse(kernel, std::string(tensor) + " has " + std::to_string(count) +
                     " elements, expected 1 to 2147483647");
}

void CheckAligned(const char* kernel, const char* tensor, const void* pointer) {
  if (reinterpret_cast<uintptr_t>(pointer) % 16 == 0) return;
  Refuse(kernel, std::string(tensor) + " is not aligned to 16 bytes");
}

void CheckWindows(const char* kernel, const std::string& axis, int in, int out, int window,
                  int stride, int pad) {
  CheckPositive(kernel, "input " + axis, in);
  CheckPositive(kernel, "output " + axis, out);
  CheckPositive(kernel, "window " + axis, window);
  CheckPositive(kernel, "stride along " + axis, stride);
  if (pad < 0 || pad >= window) {
    Refuse(kernel, "padding along " + axis + " is " + std::to_string(pad) + ", expected 0 to " +
                       std::to_string(window - 1));
  }
  if (int64_t{out - 1} * stride - pad >= in) {
    Refuse(kernel, "output " + axis + " = " + std::to_string(out) + " is more than an input of " +
                       std::to_string(in) + " has windows for");
  }
}

void CheckActivation(const char* kernel, Activation activation) {
  if (!activation.on || (activation.slope >= 0 && activation.slope < 1)) return;
  Refuse(kernel, "slope " + std::to_string(activation.slope) + ", expected at least 0 and below 1");
}

void CheckOutputOfActivation(const char* kernel, Activation activation, const void* y) {
  if (!activation.on || y != nullptr) return;
  Refuse(kernel, "y is null, expected the output of the activation");
}

}  // namespace trainyard::kernels::cuda
