// How a program shows that it gets on, in the core's terms.
//
// The core takes a training attempt whose steps stand still for a minute for one that hangs, and is
// patient (half an hour) in other phases, counted from the last change. Programs owe nobody steps:
// so one is "training" only while step lines come, and of one that has fallen silent or never said
// any, each sign of life (output, a line of metrics) changes between the two other
// phases. Silence then ends at the core's phase limit.
#pragma once

#include <chrono>

#include "worker/agent/attempt_control.h"

namespace trainyard::program {

class Heartbeat {
 public:
  explicit Heartbeat(agent::AttemptControl& control) : control_(control) {}

  void OnStep(int64_t step) {
    control_.set_step(step);
    control_.set_phase(v1::PHASE_TRAINING);
    last_step_ = agent::Clock::now();
  }
  void OnPhase(v1::Phase phase) {
    if (phase != v1::PHASE_TRAINING) control_.set_phase(phase);
  }
  void OnSign() {
    if (control_.phase() != v1::PHASE_TRAINING) Alternate();
  }
  // To be called often.
  void OnTime() {
    const bool silent = agent::Clock::now() - last_step_ > kStepPatience;
    if (silent && control_.phase() == v1::PHASE_TRAINING) Alternate();
  }

 private:
  static constexpr std::chrono::seconds kStepPatience{20};  // well below the core's minute

  void Alternate() {
    control_.set_phase(control_.phase() == v1::PHASE_EVALUATING ? v1::PHASE_LOADING
                                                                : v1::PHASE_EVALUATING);
  }

  agent::AttemptControl& control_;
  agent::Clock::time_point last_step_;
};

}  // namespace trainyard::program
