// What the system says on a machine in trouble: the program that links this has some functions of
// libc from here. Not for several threads to set at once.
#pragma once

#include <sys/statvfs.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>

namespace trainyard::engine {

struct Faults {
  std::optional<uint32_t> file_system;  // what every file lies on, as <linux/magic.h> names it
  std::optional<int> lock_error;        // what every fcntl for a lock fails with
  std::function<void(struct statvfs*)> disk;  // changes what a disk says of its room
  std::optional<int> threads_max;             // more cannot be started
};

// From here to the end of its life; there is one at a time.
class WithFaults {
 public:
  explicit WithFaults(Faults faults);
  ~WithFaults();
  WithFaults(const WithFaults&) = delete;
  WithFaults& operator=(const WithFaults&) = delete;

  int threads_started() const { return threads_started_; }

  const Faults faults;
  std::atomic<int> threads_started_ = 0;
};

}  // namespace trainyard::engine
