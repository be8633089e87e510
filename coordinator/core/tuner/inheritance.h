// How a trial trains that starts from weights which have learned already: for fewer epochs and with
// a lower peak of the learning rate, so that what it inherits is not trained away, and no more than
// the new parts need is spent.
#pragma once

#include "coordinator/core/tuner/policy.h"

namespace trainyard::core {

// Rough, from runs of tests/tuning (docs/tuning.md, "Weights that are inherited"). They count once
// in a line of inheritors: a trial on top of one keeps its length and rate.
inline constexpr double kInheritedEpochs = 0.5;  // times those of a trial from fresh weights
inline constexpr double kInheritedRate = 0.5;    // times its peak
inline constexpr int kInheritedEpochsMin = 2;    // where it had as many
inline constexpr int kGrownEpochsMin = 4;        // where most of the weights are new

// Whether a trial built on this one can start from its weights: it has some, and they are worth it.
bool WorthInheriting(const TrialHistory& base, const TuningTask& task);

// The training of a trial that starts from the weights of `base`, whose own training is `training`.
// `keep_rate`: the learning rate is what the move is about.
network::Training Continued(const TrialHistory& base, network::Training training, bool keep_rate);

}  // namespace trainyard::core
