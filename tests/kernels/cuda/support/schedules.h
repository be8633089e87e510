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

// While it lives, the emulated machine's streams do what they are told late and by chance, as far
// as events and waits let them: what is not waited for shows.
class WithLateStreams {
 public:
  WithLateStreams();
  ~WithLateStreams();
  WithLateStreams(const WithLateStreams&) = delete;
  WithLateStreams& operator=(const WithLateStreams&) = delete;
};

}  // namespace trainyard::kernels::cuda::testing
