#include "coordinator/core/tuner/policy.h"

#include "coordinator/core/tuner/curve_policy.h"

namespace trainyard::core {

const Policy& PolicyOf(Algorithm) { return DiagnosingPolicy(); }

}  // namespace trainyard::core
