// A job as a JUnit report, for build servers: one case a trial, and one for the target, which is
// the one that fails.
#pragma once

#include <string>

#include "trainyard/v1/resources.pb.h"

namespace trainyard::cli {

// The report of `job` as it stands. `problem`: why waiting ended without a result ("timeout: ..."),
// or empty. A job that was never reached is reported as one case with that problem.
std::string JunitReport(const v1::Job& job, const std::string& problem);

}  // namespace trainyard::cli
