// Learning rates: what a trial trained with, and what is usual.
#pragma once

#include "coordinator/core/tuner/policy.h"

namespace trainyard::core {

// The learning rate that the trial trained with: what was asked for, else what it reported first;
// 0: not known.
double RateOf(const TrialHistory& trial);

// The peak that small CNNs usually take well with this optimizer: SGD 0.1 with momentum 0.9, and in
// proportion to 1 - momentum, since a gradient acts 1 / (1 - momentum) times; AdamW 0.002. 0: not
// known, for a program and for SGD on a deep network without batch norm.
double UsualRate(const network::Configuration& configuration);

// Whether the schedule lowers the rate by itself, epoch by epoch.
bool RateFalls(const network::Schedule& schedule);

// Gradients of a norm above 1 are cut down to it, or to less where they were before.
void ClipAtOne(network::Optimizer& optimizer);

// Whether the rate falls to nothing by the end, where most of what such a run gains comes.
bool Anneals(const network::Training& training);

}  // namespace trainyard::core
