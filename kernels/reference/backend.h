// The `reference` backend: the definition of right. Plain loops in double, one thread, no tricks;
// between steps its state is float, as in checkpoints, so that a run can continue exactly.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace trainyard::kernels::reference {

std::unique_ptr<Backend> MakeReferenceBackend();

}  // namespace trainyard::kernels::reference
