// Which activations dropout keeps.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cpu/simd/layout.h"
#include "kernels/cpu/thread_scratch.h"

namespace trainyard::kernels::cpu {

// Of each thread.
int64_t DropoutScratchFloats(const Layout& layout);

// keep: a byte for each float of `layout`, 1 where the stream of (seed, step, layer) keeps the
// element with that canonical NCHW index, else 0 (philox.h). 0 in the padding. Spread over threads
// by images.
void DropoutKeep(const Layout& layout, const StepScalars& scalars, int layer, float rate,
                 const ThreadScratch& scratch, uint8_t* keep);

}  // namespace trainyard::kernels::cpu
