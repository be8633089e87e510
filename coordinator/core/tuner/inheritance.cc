#include "coordinator/core/tuner/inheritance.h"

#include <algorithm>
#include <cmath>

#include "coordinator/core/tuner/curve.h"

namespace trainyard::core {

bool WorthInheriting(const TrialHistory& base, const TuningTask& task) {
  if (!task.limits.inherit || base.configuration.IsProgram()) return false;
  if (base.result == TrialResult::kDiverged) return false;
  const Curve curve = ReadCurve(base, task.target);
  return curve.epochs > 0 && !NeverLearned(curve);
}

network::Training Continued(const TrialHistory& base, network::Training training, bool keep_rate) {
  const network::Training& before = base.configuration.training;
  if (base.inherited) return training;
  const int shortest = std::min(training.epochs, kInheritedEpochsMin);
  training.epochs =
      std::max(shortest, static_cast<int>(std::lround(kInheritedEpochs * training.epochs)));
  if (!keep_rate) {
    // Lowered in flight, it may be below that already.
    training.optimizer.learning_rate =
        std::min(training.optimizer.learning_rate, kInheritedRate * before.optimizer.learning_rate);
  }
  return training;
}

}  // namespace trainyard::core
