// What a trial's curves say, in the direction of its target: higher is always better here.
#pragma once

#include <vector>

#include "coordinator/core/tuner/policy.h"

namespace trainyard::core {

struct Curve {
  int epochs = 0;       // with finite numbers
  double bound = 0;     // the target's; losses are negated
  double train = 0;     // last epoch, training set; NaN: not told
  double val = 0;       // last epoch, validation set
  double best = 0;      // best epoch, validation set
  double distance = 0;  // bound - best; positive: missed
  double gap = 0;       // train - val
  double gain = 0;      // of val in the last epoch
  double limit = 0;     // where val is heading: the gains continued as a geometric series
  double train_limit = 0;
  double loss_rise = 0;  // last validation loss over the lowest, minus 1
};

Curve ReadCurve(const TrialHistory& trial, const Target& target);

// How far off the target: error over the error that is allowed (accuracy), loss over bound (loss).
// 1 is met; at least 1 for a trial that missed.
double ErrorRatio(const Curve& curve, const Target& target);

}  // namespace trainyard::core
