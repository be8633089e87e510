// What launchers refuse, and how failures of the CUDA runtime are told.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

// Throws "<doing>: <CUDA's words>" unless `status` is cudaSuccess: OutOfMemory where memory is not
// to be had; naming the device, DeviceLost where that cannot be used any more, and KernelFailed
// where this process cannot; else Error.
void CheckCuda(cudaError_t status, const char* doing);

// The current device's name, as it was told first: one that is lost does not tell any more.
std::string DeviceName();

// Throws Error, naming kernel and `name`, unless value >= 1.
void CheckPositive(const char* kernel, const std::string& name, int value);

// Kernels index with 32 bits where they say so: throws Error, naming kernel and tensor, unless
// 1 <= count < 2^31.
void CheckIndexable(const char* kernel, const char* tensor, int64_t count);

// Throws Error, naming kernel and tensor, unless `pointer` is a multiple of 16 bytes, as every
// tensor of a program is.
void CheckAligned(const char* kernel, const char* tensor, const void* pointer);

// One axis of a convolution or pooling: throws Error, naming kernel and axis, unless sizes are
// positive, and every window starts inside of the padded input and touches the input.
void CheckWindows(const char* kernel, const std::string& axis, int in, int out, int window,
                  int stride, int pad);

// Throws Error where an output's sign would not tell the sign before the activation.
void CheckActivation(const char* kernel, Activation activation);

// A gradient needs what the activation gave, unless it is off.
void CheckOutputOfActivation(const char* kernel, Activation activation, const void* y);

}  // namespace trainyard::kernels::cuda
