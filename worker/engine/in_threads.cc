#include "worker/engine/in_threads.h"

#include <sched.h>

#include <algorithm>
#include <system_error>
#include <thread>
#include <vector>

namespace trainyard::engine {

size_t CountThreads(int threads) {
  if (threads > 0) return static_cast<size_t>(threads);
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) {
    return static_cast<size_t>(std::max(1, CPU_COUNT(&cores)));
  }
  return std::max(1U, std::thread::hardware_concurrency());  // more cores than the set holds
}

void InThreads(size_t count, const std::function<void(size_t)>& work) {
  std::vector<std::jthread> threads;
  size_t next = 1;
  try {
    for (; next < count; ++next) threads.emplace_back(work, next);
  } catch (const std::system_error&) {
    // No more of them: the rest is done here.
  }
  if (count > 0) work(0);
  for (; next < count; ++next) work(next);
}

}  // namespace trainyard::engine
