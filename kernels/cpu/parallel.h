// Spreads loops over OpenMP threads. Who computes what depends on the number of threads; what is
// computed, and in which order sums are taken, does not.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace trainyard::kernels::cpu {

// Fixes the number of OpenMP threads of the calling thread's parallel regions.
class ThreadScope {
 public:
  explicit ThreadScope(int threads) : before_(omp_get_max_threads()) {
    omp_set_num_threads(threads);
  }
  ~ThreadScope() { omp_set_num_threads(before_); }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  const int before_;
};

// Waking threads costs some microseconds, and a lot more where cores are shared: work of fewer
// floats than this stays on the calling thread.
constexpr int64_t kWorthThreads = 16384;

// body(i) for i in 0 .. count - 1, each about as dear as passing over `cost` floats.
template <typename Body>
void ParallelFor(int64_t count, int64_t cost, const Body& body) {
#pragma omp parallel for schedule(static) if (count > 1 && count * cost >= kWorthThreads)
  for (int64_t i = 0; i < count; ++i) body(i);
}

// body(begin, end) over spans that cover 0 .. count - 1; small counts stay on this thread.
template <typename Body>
void ParallelSpans(int64_t count, const Body& body) {
  constexpr int64_t kSpan = 8192;
  const int64_t spans = (count + kSpan - 1) / kSpan;
#pragma omp parallel for schedule(static) if (count >= kWorthThreads)
  for (int64_t i = 0; i < spans; ++i) {
    body(i * kSpan, std::min(count, (i + 1) * kSpan));
  }
}

}  // namespace trainyard::kernels::cpu
