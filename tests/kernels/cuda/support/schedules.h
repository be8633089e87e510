// Orders in which the emulated machine runs blocks and threads. On a GPU nobody chooses: there,
// each is just one more run.
#pragma once

namespace trainyard::kernels::cuda::testing {

// Forward, backward, and two random ones.
constexpr int kScheduleCount = 4;

// While it lives, kernels run in schedule `number`, counted from 0; then in the first again.
class WithSchedule {
 public:
  explicit WithSchedule(int number);
  ~WithSchedule();
  WithSchedule(const WithSchedule&) = delete;
  WithSchedule& operator=(const WithSchedule&) = delete;
};

}  // namespace trainyard::kernels::cuda::testing
