#include "coordinator/launch/launch_slot.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

namespace trainyard::coordinator {
namespace {

std::optional<ProcessIdentity> ReadHandle(int fd) {
  char text[64];
  const ssize_t size = pread(fd, text, sizeof(text), 0);
  // Without its line end the handle is still being written.
  if (size <= 0 || text[size - 1] != '\n') return std::nullopt;
  return ParseHandle(std::string_view(text, size));
}

}  // namespace

absl::StatusOr<LaunchSlot> LaunchSlot::Take(const std::string& path, int64_t patience_ms) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
  while (true) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
      return absl::UnavailableError(absl::StrCat("cannot open ", path, ": ", strerror(errno)));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
      if (ftruncate(fd, 0) != 0) {
        const int error = errno;
        close(fd);
        return absl::UnavailableError(absl::StrCat("cannot empty ", path, ": ", strerror(error)));
      }
      return LaunchSlot(fd, std::nullopt);
    }
    const auto running = ReadHandle(fd);
    if (running && StillRuns(*running)) return LaunchSlot(fd, running);
    close(fd);
    if (running) {
      // The worker is gone and left the lock to a process that it started itself, or it is just
      // ending. A new file is a new lock.
      unlink(path.c_str());
      continue;
    }
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::UnavailableError(
          absl::StrCat(path, " is locked by a process that does not say who it is"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

LaunchSlot::LaunchSlot(LaunchSlot&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), running_(other.running_) {}

LaunchSlot::~LaunchSlot() {
  if (fd_ >= 0) close(fd_);
}

std::optional<ProcessIdentity> ReadSlot(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  const auto identity = ReadHandle(fd);
  close(fd);
  return identity;
}

}  // namespace trainyard::coordinator
