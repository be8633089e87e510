// What a move should bring: what is known of it beforehand, times what this job has taught.
#pragma once

#include <map>
#include <string>

#include "coordinator/core/tuner/curve.h"
#include "coordinator/core/tuner/policy.h"

namespace trainyard::core {

// The kinds of moves, as Tweak::move and people name them.
inline constexpr char kGrow[] = "grow";  // wider and deeper at once
inline constexpr char kWiden[] = "widen";
inline constexpr char kBatchNorm[] = "batch norm";
inline constexpr char kDeepen[] = "deepen";
inline constexpr char kResidual[] = "residual block";
inline constexpr char kLargerKernels[] = "larger kernels";
inline constexpr char kAddUnits[] = "add units";
inline constexpr char kRelax[] = "relax";
inline constexpr char kTrainLonger[] = "train longer";
inline constexpr char kRaiseRate[] = "raise rate";
inline constexpr char kLowerRate[] = "lower rate";
inline constexpr char kAnneal[] = "anneal";
inline constexpr char kAugment[] = "augment";
inline constexpr char kRegularise[] = "regularise";
inline constexpr char kSmoothLabels[] = "smooth labels";
inline constexpr char kSmallerBatch[] = "smaller batch";
inline constexpr char kStopEarly[] = "stop early";

// The share of the error (or of the loss) that a move takes away where `finding` is right: a rough
// measure from many runs, which this job's own trials correct. 0: it is not worth a trial.
double PriorShare(FindingKind finding, const std::string& move);

// Error falls about with the fourth root of the width: the share that `factor` takes away.
double WidthShare(double factor);

// How much of what was expected of a kind of move came, trial after trial: each one that paid in
// full leaves its factor alone, one that paid nothing halves it, one that broke or lost quarters
// it, one that paid twice raises it by half. So two failures bring a move behind its neighbours,
// and it stays in the list.
class Experience {
 public:
  explicit Experience(const TuningTask& task);

  double Factor(const std::string& move) const;  // 1: not tried yet

 private:
  void Learn(const TrialHistory& trial, double gained);
  std::map<std::string, double> factors_;
};

}  // namespace trainyard::core
