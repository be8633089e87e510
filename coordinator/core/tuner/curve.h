// What a trial's curves say, in the direction of its target: higher is always better here.
//
// Anything may be missing: a program tells what it likes, and a number that is not finite was no
// number. NaN stands for what cannot be known.
#pragma once

#include <string>
#include <vector>

#include "coordinator/core/tuner/policy.h"

namespace trainyard::core {

struct Curve {
  int epochs = 0;            // with finite numbers
  int planned = 0;           // 0: unknown, a program's own number
  double bound = 0;          // what meets the target, as sure as it asks; losses are negated
  double train = 0;          // last epoch, training set
  double val = 0;            // last epoch, validation set
  double best = 0;           // best epoch, validation set
  int since_best = 0;        // epochs after the best one
  double distance = 0;       // bound - best; positive: missed
  double gap = 0;            // train - val
  double gain = 0;           // of val in the last epoch
  double limit = 0;          // where val is heading: the gains continued as a geometric series
  double train_limit = 0;    // likewise
  double loss_rise = 0;      // last validation loss over the lowest, minus 1
  int loss_rises = 0;        // epochs in a row up to the last in which the validation loss rose
  double first_loss = 0;     // training loss of the first epoch; where it is not told, validation
  double last_loss = 0;      // likewise
  int loss_jumps = 0;        // epochs in which that loss rose by a tenth and more
  bool loss_falls = false;   // in every epoch
  double chance_loss = 0;    // of a network that knows nothing: log(classes)
  double update_ratio = 0;   // the largest of any epoch
  double gradient_norm = 0;  // last epoch
  double dead_units = 0;     // likewise
  int64_t images = 0;        // of the validation set; 0: unknown
  double noise = 0;          // standard error of `best`, an accuracy
  bool annealed = false;     // it has run to the end of a schedule whose rate falls
};

Curve ReadCurve(const TrialHistory& trial, const Target& target);

// Whether the loss stayed about where that of a guess is.
bool NeverLearned(const Curve& curve);

// Where it goes if it is continued: the gains shrink by a ratio per epoch, so the limit of a, b, c
// is c + (c - b) r / (1 - r). The ratio is measured where three values are there, and kept below
// `ratio_max`, since noise would lead to the stars. A last gain of 0 or less: the largest value.
double Limit(const std::vector<double>& values, double ratio_max);

// Accuracy: 1 - value; loss: the value itself. `value` in the direction of the target.
double ErrorOf(double value, const Target& target);

// How far off the target: error over the error that is allowed (accuracy), loss over bound (loss).
// 1 is met; at least 1 for a trial that missed.
double ErrorRatio(const Curve& curve, const Target& target);

// "1 epoch", "3 epochs".
std::string EpochsText(int epochs);

// A value in the direction of the target as people know it.
double Shown(double value, const Target& target);

}  // namespace trainyard::core
