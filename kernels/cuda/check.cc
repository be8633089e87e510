#include "kernels/cuda/check.h"

#include <mutex>
#include <string>

#include "kernels/backend.h"

namespace trainyard::kernels::cuda {
namespace {

[[noreturn]] void Refuse(const char* kernel, const std::string& what) {
  throw Error(std::string(kernel) + ": " + what);
}

// What a program that was well cannot do anything about: there is no device to be had any more.
bool MeansLost(cudaError_t status) {
  switch (status) {
    // No device, or none that may be used now: gone from the bus, in exclusive use, being reset.
    case cudaErrorDevicesUnavailable:
    case cudaErrorNoDevice:
    case cudaErrorSystemNotReady:
    // The context is not there any more.
    case cudaErrorDeviceUninitialized:
    case cudaErrorContextIsDestroyed:
    case cudaErrorMpsClientTerminated:
    // The hardware failed.
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorExternalDevice:
    // What the driver cannot name: it comes of devices that fall off the bus.
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

// A kernel failed, ours or a library's, and would again if that is its fault. CUDA's documentation
// says of each that the process is left in an inconsistent state, and that any further work will
// return the same error until the process is terminated.
bool MeansKernelFailed(cudaError_t status) {
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:  // "possibly due to stack corruption"
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
      return true;
    default:
      return false;
  }
}

}  // namespace

void CheckCuda(cudaError_t status, const char* doing) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // told here, so that the next launch is not blamed for it
  const std::string problem = std::string(doing) + ": " + cudaGetErrorString(status);
  if (status == cudaErrorMemoryAllocation) throw OutOfMemory(problem);
  const bool failed = MeansKernelFailed(status);
  if (!failed && !MeansLost(status)) throw Error(problem);
  const std::string named = problem + " (" + cudaGetErrorName(status) + "; " + DeviceName() + ")";
  if (failed) throw KernelFailed(named);
  throw DeviceLost(named);
}

std::string DeviceName() {
#if defined(TRAINYARD_CUDA_EMULATION)
  return "emulated machine";
#else
  static std::mutex mutex;
  static std::string name;
  const std::lock_guard lock(mutex);
  if (!name.empty()) return name;
  int device = 0;
  cudaDeviceProp properties;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaGetDeviceProperties(&properties, device) != cudaSuccess) {
    cudaGetLastError();
    return "an unknown device";
  }
  return name = properties.name;
#endif
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
