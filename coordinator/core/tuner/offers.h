// Collects the moves on one base, with what each may gain, for moves.cc and program_moves.cc.
#pragma once

#include <string>
#include <vector>

#include "coordinator/core/tuner/curve.h"
#include "coordinator/core/tuner/expectation.h"
#include "coordinator/core/tuner/moves.h"

namespace trainyard::core {

inline constexpr int kEpochsMax = 400;    // that the tuner asks for by itself
inline constexpr double kRateMin = 1e-6;  // likewise
inline constexpr double kRateMax = 10;

struct MoveOptions {
  double scale = 1;         // of what the prior promises
  bool keep_rate = false;   // the move is about the learning rate: Continued() leaves it alone
  bool mostly_new = false;  // most of the weights are new: it trains as a fresh one would
};

class Offers {
 public:
  Offers(const TrialHistory& base, const Finding& finding, const TuningTask& task);

  // `sign`: what should be seen if the reason is right; how much is added to it. Ignored if it
  // changes nothing or promises nothing for the finding.
  void Add(const std::string& name, network::Configuration next, std::string reason,
           const std::string& sign, MoveOptions options = {});

  // Best first; equals as they came.
  std::vector<Move> Take();

  const TrialHistory& base() const { return base_; }
  const network::Configuration& from() const { return base_.current; }
  const TuningTask& task() const { return task_; }
  FindingKind kind() const { return kind_; }  // what limits the trial
  bool inherits() const { return inherits_; }
  const Curve& curve() const { return curve_; }
  double shown(double value) const { return Shown(value, task_.target); }

 private:
  double GainOf(const std::string& name, double scale) const;

  const TrialHistory& base_;
  const TuningTask& task_;
  const FindingKind kind_;
  const bool inherits_;
  const Curve curve_;
  const Experience experience_;
  std::vector<Move> moves_;
};

}  // namespace trainyard::core
