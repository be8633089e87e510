// The `cpu` backend: Winograd and other convolutions on one matrix product of our own, in SIMD.
// Ways of computing, layouts and memory are decided in Lower(). The same inputs give the same
// bytes, whatever the number of threads, and on every processor of one kind (simd/target.h).
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace trainyard::kernels::cpu {

// threads <= 0: one per core. Throws Unavailable where TRAINYARD_SIMD asks for what this processor
// has not (simd/target.h).
std::unique_ptr<Backend> MakeCpuBackend(int threads);

}  // namespace trainyard::kernels::cpu
