#include "tests/kernels/cuda/support/schedules.h"

#include "kernels/cuda/runtime.h"

namespace trainyard::kernels::cuda::testing {

#if defined(TRAINYARD_CUDA_EMULATION)

WithSchedule::WithSchedule(int number) {
  using emulation::Order;
  static constexpr emulation::Schedule kSchedules[kScheduleCount] = {
      {Order::kForward, Order::kForward, 1},
      {Order::kReverse, Order::kReverse, 1},
      {Order::kRandom, Order::kRandom, 1},
      {Order::kRandom, Order::kRandom, 2},
  };
  emulation::schedule = kSchedules[number];
}

WithSchedule::~WithSchedule() { emulation::schedule = {}; }

WithLateStreams::WithLateStreams() { emulation::late_streams = true; }
WithLateStreams::~WithLateStreams() { emulation::late_streams = false; }

#else

WithSchedule::WithSchedule(int) {}
WithSchedule::~WithSchedule() {}
WithLateStreams::WithLateStreams() {}
WithLateStreams::~WithLateStreams() {}

#endif

}  // namespace trainyard::kernels::cuda::testing
