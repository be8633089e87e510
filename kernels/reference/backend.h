// The `reference` backend: the definition of right. Plain loops in double, one thread, no tricks;
// its state is kept in double and rounded by ReadState.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace trainyard::kernels::reference {

std::unique_ptr<Backend> MakeReferenceBackend();

}  // namespace trainyard::kernels::reference
