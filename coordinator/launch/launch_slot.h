// One launch number, one running worker: a small file with a lock on it that the worker holds.
//
// The lock is taken before the worker is forked and inherited by it, so there is no moment at which
// a worker runs and its slot looks free, even if the coordinator dies between the fork and its
// record. The file's text is the worker's handle, written by itself before it does anything else.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/launch/process_identity.h"

namespace trainyard::coordinator {

class LaunchSlot {
 public:
  // Either holds the lock (then nobody runs under this number), or names who does.
  // UNAVAILABLE if somebody holds it and doesn't say who for `patience_ms`.
  static absl::StatusOr<LaunchSlot> Take(const std::string& path, int64_t patience_ms = 5000);

  LaunchSlot(LaunchSlot&& other) noexcept;
  LaunchSlot& operator=(LaunchSlot&&) = delete;
  ~LaunchSlot();

  // The worker that runs under this number already; nothing: the slot is ours.
  const std::optional<ProcessIdentity>& running() const { return running_; }
  int fd() const { return fd_; }

 private:
  LaunchSlot(int fd, std::optional<ProcessIdentity> running) : fd_(fd), running_(running) {}

  int fd_;
  std::optional<ProcessIdentity> running_;
};

// Who was last started in this slot, running or not; nothing if nobody was.
std::optional<ProcessIdentity> ReadSlot(const std::string& path);

}  // namespace trainyard::coordinator
