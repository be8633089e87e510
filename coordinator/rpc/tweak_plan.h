// What a person's tweak comes to: which configuration it starts from, what it makes of it, and
// when that takes effect. Pure reads of a copy of the state, so that a dry run is told exactly what
// the core would answer.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "coordinator/core/effect.h"
#include "coordinator/core/event.h"
#include "coordinator/core/state.h"
#include "trainyard/v1/client.pb.h"

namespace trainyard::coordinator {

struct TweakPlan {
  core::TweakRequested event;
  v1::TweakJobResponse response;  // all but `effect`, which is the core's to tell
};

// The request's job must be in the state and have a trial. FAILED_PRECONDITION where there is no
// proposal to accept, or several trials run and none is named; INVALID_ARGUMENT for overrides that
// no spec may have. Whatever else is in the way, the core says.
absl::StatusOr<TweakPlan> PlanTweak(const core::State& state, const v1::TweakJobRequest& request);

// What the core would answer, were it asked now; nothing happens.
absl::StatusOr<core::Answer> Foretell(core::State state, core::TweakRequested event,
                                      int64_t now_ms);

// What the tuner would do with the job as it stands.
v1::TweakJobResponse Forecast(const core::State& state, const core::Job& job);

}  // namespace trainyard::coordinator
