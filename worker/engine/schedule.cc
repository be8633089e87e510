#include "worker/engine/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace trainyard::engine {
namespace {

using network::Schedule;
using network::ScheduleKind;

double Interpolate(double from, double to, double part) { return from + (to - from) * part; }

double OneCycle(const Schedule& schedule, double at, double total) {
  const double peak_at = schedule.peak_at * total;
  if (at < peak_at) return at / peak_at;
  return Interpolate(1, schedule.final_factor, (at - peak_at) / (total - peak_at));
}

// Factor on the peak rate, warm-up left out, at `at` of `total` steps.
double Factor(const Schedule& schedule, double at, double warmup, int64_t step,
              int64_t steps_per_epoch, double total) {
  switch (schedule.kind) {
    case ScheduleKind::kConstant:
      return 1;
    case ScheduleKind::kStep: {
      // The step's own number, not its middle: the fall comes with the first step of an epoch.
      const double fall_every = schedule.step_epochs * static_cast<double>(steps_per_epoch);
      const double falls = std::floor(static_cast<double>(step) / fall_every);
      return std::pow(schedule.step_factor, falls);
    }
    case ScheduleKind::kCosine: {
      const double part = warmup < total ? std::max(0.0, (at - warmup) / (total - warmup)) : 0;
      return Interpolate(schedule.final_factor, 1, (1 + std::cos(std::numbers::pi * part)) / 2);
    }
    case ScheduleKind::kOneCycle:
      return OneCycle(schedule, at, total);
  }
  return 1;
}

}  // namespace

double LearningRate(const Schedule& schedule, double peak, int64_t step, int64_t steps_per_epoch,
                    int epochs) {
  const double per_epoch = static_cast<double>(steps_per_epoch);
  const double at = static_cast<double>(step) + 0.5;
  const double warmup = schedule.warmup_epochs * per_epoch;
  const double factor = Factor(schedule, at, warmup, step, steps_per_epoch, per_epoch * epochs);
  return peak * factor * (at < warmup ? at / warmup : 1);
}

}  // namespace trainyard::engine
