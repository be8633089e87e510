// What a GPU was busy with while a piece of work ran, as CUPTI records it.
#pragma once

#include <cstdint>
#include <functional>

namespace trainyard::kernels::cuda::testing {

struct Activity {
  int64_t spans = 0;        // kernels, copies and fills; 0: this build or machine cannot tell
  double busy_seconds = 0;  // in which at least one of them ran
};

// Of `work`, which must have waited for the device when it returns. Recording slows it down.
Activity WatchDevice(const std::function<void()>& work);

}  // namespace trainyard::kernels::cuda::testing
