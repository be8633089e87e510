#include "coordinator/core/tuner/policy.h"

#include "coordinator/core/tuner/curve_policy.h"
#include "coordinator/core/tuner/search.h"

namespace trainyard::core {

const Policy& PolicyOf(Algorithm algorithm) {
  return algorithm == Algorithm::kDiagnose ? DiagnosingPolicy() : SearchPolicy(algorithm);
}

}  // namespace trainyard::core
