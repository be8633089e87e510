// The `cpu` backend: oneDNN for convolutions and matrix products, our own loops for the rest.
// Layouts, primitives and memory are decided in Lower(); the same inputs and number of threads give
// the same bytes.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace trainyard::kernels::cpu {

// threads <= 0: one per core.
std::unique_ptr<Backend> MakeCpuBackend(int threads);

}  // namespace trainyard::kernels::cpu
