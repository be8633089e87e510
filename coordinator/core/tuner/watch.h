// What is done about a trial while it runs.
#pragma once

#include <functional>
#include <optional>

#include "coordinator/core/tuner/policy.h"

namespace trainyard::core {

// Ends a trial that cannot reach its target or has begun to overfit, where `more` says that there
// is something better to try (asked only then); lowers the learning rate after the loss has jumped,
// or on a plateau of a schedule that would not lower it by itself. Programs can only be ended. At
// most kChangesMax changes a trial.
std::optional<Correction> WatchTrial(const TuningTask& task, const TrialHistory& trial,
                                     const std::function<bool()>& more);

// After the loss has run away: a third of the rate, gradients clipped at norm 1.
std::optional<Correction> RescueTrial(const TuningTask& task, const TrialHistory& trial);

}  // namespace trainyard::core
