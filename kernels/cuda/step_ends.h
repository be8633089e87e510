// What a captured step begins and ends with, so that the host need not touch it between two
// replays: the inputs of a stride of steps lie in device memory row by row, and so do their
// results.
#pragma once

#include <cstdint>

#include "kernels/cuda/loss.h"
#include "kernels/cuda/runtime.h"

namespace trainyard::kernels::cuda {

// What one step gives.
struct StepOutcome {
  LossResult loss;
  double norm = 0;  // of the gradients, before clipping
};

// inputs[i] = rows[*cursor * row_bytes + i] for all i < bytes: the row of the step that is to run,
// at the place where its kernels read.
//
// rows, inputs: aligned to 16 bytes. row_bytes and bytes: multiples of 16; bytes <= row_bytes. The
// caller has seen to it that the row is there. Moves `bytes` twice.
void BeginStep(const char* rows, const int32_t* cursor, int row_bytes, int bytes, char* inputs,
               cudaStream_t stream);

// outcomes[*cursor] = {*loss, *norm}, then ++*cursor. norm: null for evaluation, which has none: 0.
void EndStep(const LossResult* loss, const double* norm, StepOutcome* outcomes, int32_t* cursor,
             cudaStream_t stream);

}  // namespace trainyard::kernels::cuda
