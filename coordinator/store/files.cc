#include "coordinator/store/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace trainyard::coordinator {

UniqueFd::~UniqueFd() { Close(); }

int UniqueFd::Close() {
  if (fd_ < 0) return 0;
  // Linux closes the descriptor even when it reports EINTR, so this is never repeated.
  return ::close(std::exchange(fd_, -1)) == 0 || errno == EINTR ? 0 : errno;
}

absl::Status FileError(int error, const char* doing, const std::filesystem::path& path) {
  return absl::ErrnoToStatus(error, std::string("cannot ") + doing + " " + path.string());
}

absl::Status SyncFolder(const std::filesystem::path& folder) {
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return FileError(errno, "open folder", folder);
  if (::fsync(fd.get()) != 0) return FileError(errno, "sync folder", folder);
  return absl::OkStatus();
}

absl::Status CreateFolders(const std::filesystem::path& folder) {
  const std::filesystem::path parent = folder.parent_path();
  if (::mkdir(folder.c_str(), 0700) == 0) {
    return SyncFolder(parent.empty() ? std::filesystem::path(".") : parent);
  }
  if (errno == EEXIST) {
    std::error_code error;
    if (std::filesystem::is_directory(folder, error)) return absl::OkStatus();
    return FileError(ENOTDIR, "use as a folder", folder);
  }
  // Below a folder that is there, /proc says ENOENT too.
  const int cause = errno;
  std::error_code error;
  if (cause != ENOENT || parent.empty() || std::filesystem::is_directory(parent, error)) {
    return FileError(cause, "create folder", folder);
  }
  if (absl::Status status = CreateFolders(parent); !status.ok()) return status;
  return CreateFolders(folder);
}

}  // namespace trainyard::coordinator
