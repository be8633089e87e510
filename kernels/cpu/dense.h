// Dense layers: three matrix products over the whole batch, cut for the caches and spread over
// threads. Rows of activations are `inputs` or `outputs` floats long, padded (simd/layout.h);
// weights are panels (outputs / 16, inputs, 16) as parameter_layout.h keeps them.
#pragma once

#include <cstdint>

#include "kernels/cpu/thread_scratch.h"

namespace trainyard::kernels::cpu {

struct Dense {
  int64_t batch = 0, inputs = 0, outputs = 0;  // padded

  // Of each thread, for any of the three; and how many blocks those spread over threads, at most.
  int64_t scratch_floats() const;
  int64_t items() const;
};

// y = act(x w + bias); bias may be null.
void DenseForward(const Dense& dense, const float* x, const float* weights, const float* bias,
                  float slope, float* y, const ThreadScratch& scratch);
// dx = dy w^T, or dx += it.
void DenseData(const Dense& dense, const float* dy, const float* weights, bool accumulate,
               float* dx, const ThreadScratch& scratch);
// dw = x^T dy in the weights' form; db = sums of dy's columns, in order; db may be null.
void DenseWeights(const Dense& dense, const float* x, const float* dy, float* dw, float* db,
                  const ThreadScratch& scratch);

}  // namespace trainyard::kernels::cpu
