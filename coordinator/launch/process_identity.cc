#include "coordinator/launch/process_identity.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cstring>

namespace trainyard::coordinator {
namespace {

// Behind the command's name, which may hold spaces and brackets itself: state is the first field,
// the start time the twentieth.
const char* BehindName(const char* stat, size_t size) {
  const void* bracket = memrchr(stat, ')', size);
  if (bracket == nullptr) return nullptr;
  const char* at = static_cast<const char*>(bracket) + 2;
  return at < stat + size ? at : nullptr;
}

}  // namespace

uint64_t ParseStartTicks(const char* stat, size_t size) {
  const char* at = BehindName(stat, size);
  const char* const end = stat + size;
  if (at == nullptr) return 0;
  for (int field = 1; field < 20; ++field) {
    while (at < end && *at != ' ') ++at;
    if (at == end) return 0;
    ++at;
  }
  uint64_t ticks = 0;
  for (; at < end && *at >= '0' && *at <= '9'; ++at) ticks = ticks * 10 + (*at - '0');
  return ticks;
}

std::optional<ProcessIdentity> IdentityOf(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  char text[1024];
  const ssize_t size = read(fd, text, sizeof(text));
  close(fd);
  if (size <= 0) return std::nullopt;  // ESRCH: it ended between open and read
  const char* behind = BehindName(text, static_cast<size_t>(size));
  if (behind == nullptr || *behind == 'Z' || *behind == 'X') return std::nullopt;
  const uint64_t ticks = ParseStartTicks(text, static_cast<size_t>(size));
  if (ticks == 0) return std::nullopt;
  return ProcessIdentity{pid, ticks};
}

bool StillRuns(const ProcessIdentity& process) { return IdentityOf(process.pid) == process; }

std::string ToHandle(const ProcessIdentity& process) {
  return std::to_string(process.pid) + " " + std::to_string(process.start_ticks);
}

std::optional<ProcessIdentity> ParseHandle(std::string_view handle) {
  ProcessIdentity process;
  const char* const end = handle.data() + handle.size();
  const auto pid = std::from_chars(handle.data(), end, process.pid);
  if (pid.ec != std::errc() || pid.ptr == end || *pid.ptr != ' ') return std::nullopt;
  const auto ticks = std::from_chars(pid.ptr + 1, end, process.start_ticks);
  if (ticks.ec != std::errc() || (ticks.ptr != end && *ticks.ptr != '\n')) return std::nullopt;
  if (process.pid <= 0 || process.start_ticks == 0) return std::nullopt;
  return process;
}

}  // namespace trainyard::coordinator
