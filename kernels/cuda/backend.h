// The CUDA program as a backend. Compiled for a GPU it is `cuda`; for the emulated machine it is
// `emulated`, which computes the same with the same kernels, thousands of times slower, for tests.
#pragma once

#include <memory>

#include "kernels/backend.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

// On the current device. Programs are lowered, run and destroyed by one thread at a time.
std::unique_ptr<Backend> MakeCudaBackend(Precision precision);

}  // namespace trainyard::kernels::cuda
