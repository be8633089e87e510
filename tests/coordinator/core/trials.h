// Trials with made up curves, for the tests of the tuner.
#pragma once

#include <vector>

#include "coordinator/core/tuner/policy.h"
#include "tests/coordinator/core/text.h"

namespace trainyard::core {

inline const Target kTarget{.metric = TargetMetric::kValAccuracy, .bound = 0.91};

// A trial of this configuration that came to an end, with these accuracies epoch by epoch.
inline TrialHistory Trained(network::Configuration configuration, const std::vector<double>& train,
                            const std::vector<double>& val) {
  TrialHistory trial{.number = 1, .configuration = configuration, .current = configuration};
  for (size_t i = 0; i < val.size(); ++i) {
    trial.epochs.push_back({1 - train[i], train[i], 1 - val[i], val[i], 0.05});
  }
  return trial;
}

// Of the sample network: conv 3x3 x4, conv 3x3 x8, dense 10, without batch norm, for 3 epochs.
inline TrialHistory Trial(const std::vector<double>& train, const std::vector<double>& val) {
  return Trained(SampleRequest().configuration, train, val);
}

// Of a program with these changes.
inline TrialHistory Program(const std::vector<double>& train, const std::vector<double>& val,
                            network::ProgramChanges changes = {}) {
  TrialHistory trial = Trained({.changes = std::move(changes)}, train, val);
  for (Metrics& metrics : trial.epochs) metrics.learning_rate = 0.001;
  return trial;
}

// The next number, and started because of this advice.
inline void Follow(TuningTask& task, const NextTrial& next, TrialHistory trial) {
  trial.number = static_cast<int>(task.trials.size()) + 1;
  trial.configuration = trial.current = next.configuration;
  trial.base = next.base;
  trial.inherited = next.inherit && task.limits.inherit && !trial.current.IsProgram();
  trial.move = next.tweak.move;
  trial.expected_gain = next.tweak.expected_gain;
  task.last = trial.number;
  task.trials.push_back(std::move(trial));
}

inline const Policy& Tuner() { return PolicyOf(Algorithm::kDiagnose); }

}  // namespace trainyard::core
