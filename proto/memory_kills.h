// How often the kernel ended a process for want of memory: the only fact that tells such a SIGKILL
// from any other.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string_view>

namespace trainyard {

// The kernel's count so far: of our control group where it keeps one, else of the whole machine.
// 0 where it cannot be read.
int64_t CountMemoryKills();

// The number behind "oom_kill" in the text of memory.events, memory.oom_control or /proc/vmstat;
// -1: none.
int64_t ParseMemoryKills(std::string_view text);

// Remembers the counter of the last few seconds and tells whether it grew since: a process takes a
// while to die after the kernel has counted it.
class MemoryKillWatch {
 public:
  // To be called often; looks at most once a second.
  void Sample();
  bool GrewLately() const;

 private:
  std::deque<int64_t> samples_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace trainyard
