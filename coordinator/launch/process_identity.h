// Which process is meant: a pid alone may name another one tomorrow, pid and start time do not.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trainyard::coordinator {

struct ProcessIdentity {
  pid_t pid = 0;
  uint64_t start_ticks = 0;  // clock ticks since boot
  bool operator==(const ProcessIdentity&) const = default;
};

// The start time in the text of /proc/PID/stat; 0 if it is not such a text. Allocates nothing, so
// that a forked child may call it.
uint64_t ParseStartTicks(const char* stat, size_t size);

// The process that has this pid now; nothing if there is none, or only the zombie of one.
std::optional<ProcessIdentity> IdentityOf(pid_t pid);

// Whether exactly this process still runs.
bool StillRuns(const ProcessIdentity& process);

// "pid start_ticks" and back.
std::string ToHandle(const ProcessIdentity& process);
std::optional<ProcessIdentity> ParseHandle(std::string_view handle);

}  // namespace trainyard::coordinator
