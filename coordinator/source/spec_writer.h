// JobSpec -> trainyard.yaml, as `job show` prints it and as overrides are applied to it: reading
// what was written gives the same spec, except for counts, which only the data can tell.
#pragma once

#include <string>

#include "coordinator/source/job_spec.h"

namespace trainyard::coordinator {

std::string WriteSpec(const JobSpec& spec);

}  // namespace trainyard::coordinator
