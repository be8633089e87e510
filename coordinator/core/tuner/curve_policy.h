// The policy that reads curves: it says what limits the best trial, and changes that.
//
// The way through its files: curve and confusion read a trial, diagnose names what limits it, moves
// (grow for networks, program_moves for programs) offer what can be done about it, expectation says
// how much each may bring, inheritance how long a trial with inherited weights trains, watch what
// is done while one runs.
#pragma once

#include "coordinator/core/tuner/policy.h"

namespace trainyard::core {

const Policy& DiagnosingPolicy();

}  // namespace trainyard::core
