// What a worker says about itself when it registers: whether it can be so, and what it can do.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "coordinator/core/request.h"
#include "coordinator/core/state.h"
#include "trainyard/v1/worker.pb.h"

namespace trainyard::coordinator {

// INVALID_ARGUMENT names the field, what was found and what was expected. Pools whose workers are
// launched are not open to others.
absl::Status CheckRegistration(const v1::RegisterRequest& request, const core::Settings& settings);

core::Abilities AbilitiesOf(const v1::RegisterRequest& request);
std::optional<core::Gpu> GpuOf(const v1::RegisterRequest& request);

absl::Status CheckUse(const v1::GpuUse& use);  // what a renewal says; INVALID_ARGUMENT, likewise

}  // namespace trainyard::coordinator
