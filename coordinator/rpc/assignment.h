// What a worker may fetch: what the attempts that it holds are made of, and nothing else.
#pragma once

#include <string>

#include "coordinator/core/state.h"

namespace trainyard::coordinator {

// Whether a worker of this launch (0: one that was started by hand) holds an attempt that needs the
// blob: as its source, as data of its spec, or as the checkpoint to start from.
bool NeedsBlob(const core::State& state, core::LaunchId launch, const std::string& sha256);

}  // namespace trainyard::coordinator
