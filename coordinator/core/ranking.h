// Which checkpoint is best, whether it is good enough, and where a trial continues from.
#pragma once

#include <optional>
#include <string>

#include "coordinator/core/state.h"

namespace trainyard::core {

double Value(const Target& target, const Metrics& metrics);
bool Meets(const Target& target, double value);  // NaN meets nothing
bool Better(const Target& target, double a, double b);

// The value that meets the target, as sure as it has to be: the bound, or the accuracy above it
// whose Wilson lower bound it is.
double Needed(const Target& target);

// "val_accuracy 0.9132 >= 0.92"; what people see of a target and of a value.
std::string TargetText(const Target& target);
std::string ValueText(const Target& target, double value);

// The sound checkpoint with the best value, of one trial or of all of the job; the older one of
// equals, none if nothing that was measured is left.
const Checkpoint* BestOfTrial(const State& state, const Trial& trial);
const Checkpoint* BestOfJob(const State& state, const Job& job);

// What another trial inherits of this one: its best checkpoint, else its newest.
const Checkpoint* WeightsOf(const State& state, const Trial& trial);

// The trial's newest sound checkpoint.
const Checkpoint* Newest(const State& state, TrialId trial);

// What the trial's next training attempt starts from: its newest checkpoint, else what it
// inherits, else nothing.
const Checkpoint* RestorePoint(const State& state, const Trial& trial);

// Epochs with a live row; they have no gaps.
int LiveEpochs(const State& state, TrialId trial);
int64_t LiveEpochs(const State& state, const Job& job);

// The trial's live row of this epoch.
const Epoch* LiveRow(const State& state, TrialId trial, int epoch);

// Value of the target in the trial's live rows; none if none is a number.
std::optional<double> BestValue(const State& state, const Job& job, TrialId trial);

}  // namespace trainyard::core
