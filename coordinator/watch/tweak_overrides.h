// A person's tweak: "train.lr=0.05" on top of a configuration that a trial had or that the tuner
// proposed.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "network/training.h"
#include "trainyard/v1/spec.pb.h"

namespace trainyard::coordinator {

// `spec` is the job's: data, classes and everything but the configuration. Held to the same checks
// as a spec: INVALID_ARGUMENT, one problem a line. Only network and train may be changed.
absl::StatusOr<network::Configuration> ApplyToConfiguration(
    const v1::JobSpec& spec, const network::Configuration& base,
    const std::vector<std::string>& overrides);

}  // namespace trainyard::coordinator
