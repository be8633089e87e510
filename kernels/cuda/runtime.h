// The CUDA runtime as kernels and their callers see it: NVIDIA's, or, where
// TRAINYARD_CUDA_EMULATION is defined, the machine of `emulation/` that runs the same kernels on a
// CPU.
#pragma once

#if defined(TRAINYARD_CUDA_EMULATION)
#include "kernels/cuda/emulation/cuda.h"
#else
#include <cuda_runtime.h>
#endif
