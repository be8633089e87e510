#include "cli/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "cli/text.h"

namespace trainyard::cli {

absl::StatusOr<std::unique_ptr<AtomicFile>> AtomicFile::Create(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error) || path.empty() || path.back() == '/') {
    return absl::InvalidArgumentError(
        fmt::format("{}: expected a file's name, not a folder", CleanLine(path)));
  }
  std::string temporary = path + ".part-XXXXXX";
  const int descriptor = mkostemp(temporary.data(), O_CLOEXEC);
  if (descriptor < 0) {
    return absl::InvalidArgumentError(
        fmt::format("{}: cannot be written: {}", CleanLine(path), std::strerror(errno)));
  }
  const mode_t mask = umask(0);
  umask(mask);
  fchmod(descriptor, 0666 & ~mask);  // mkostemp made it private
  return std::unique_ptr<AtomicFile>(new AtomicFile(path, temporary, descriptor));
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!committed_) unlink(temporary_.c_str());
}

absl::Status AtomicFile::Write(std::string_view data) {
  while (!data.empty()) {
    const ssize_t written = write(descriptor_, data.data(), data.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return absl::InternalError(
          fmt::format("{}: writing failed: {}", CleanLine(path_), std::strerror(errno)));
    }
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Commit() {
  const bool good = fsync(descriptor_) == 0 && close(std::exchange(descriptor_, -1)) == 0 &&
                    std::rename(temporary_.c_str(), path_.c_str()) == 0;
  if (!good) {
    return absl::InternalError(
        fmt::format("{}: finishing the file failed: {}", CleanLine(path_), std::strerror(errno)));
  }
  committed_ = true;
  return absl::OkStatus();
}

}  // namespace trainyard::cli
