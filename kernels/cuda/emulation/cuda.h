// CUDA on a CPU, for tests: with TRAINYARD_CUDA_EMULATION, kernels' sources and what calls them see
// this instead of nvcc and the CUDA runtime.
//
//   types.h         vector types
//   language.h      keywords, barriers, warp operations, atomics
//   arithmetic.h    functions of numbers
//   instructions.h  tensor cores, matrix loads, asynchronous copies
//   launch.h        shared memory and launches
//   runtime.h       memory, streams, events, graphs
//   devices.h       which devices there are
//   schedule.h      in which order blocks and threads run
//   machine.h       the machine that runs them
#pragma once

#include "kernels/cuda/emulation/arithmetic.h"
#include "kernels/cuda/emulation/devices.h"
#include "kernels/cuda/emulation/instructions.h"
#include "kernels/cuda/emulation/language.h"
#include "kernels/cuda/emulation/launch.h"
#include "kernels/cuda/emulation/runtime.h"
#include "kernels/cuda/emulation/schedule.h"
#include "kernels/cuda/emulation/types.h"
