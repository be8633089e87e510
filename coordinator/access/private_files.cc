#include "coordinator/access/private_files.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "coordinator/store/files.h"

namespace trainyard::coordinator {
namespace {

constexpr size_t kSmallMax = 1 << 20;

absl::Status WriteAll(int fd, std::string_view content, const std::filesystem::path& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(errno, "write", path);
    content.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadAll(int fd, const std::filesystem::path& path) {
  std::string content;
  std::array<char, 4096> piece;
  while (true) {
    const ssize_t count = ::read(fd, piece.data(), piece.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FileError(errno, "read", path);
    if (count == 0) return content;
    content.append(piece.data(), static_cast<size_t>(count));
    if (content.size() > kSmallMax) {
      return absl::InvalidArgumentError(absl::StrCat(path.string(), ": found more than ", kSmallMax,
                                                     " bytes, expected a small file"));
    }
  }
}

}  // namespace

absl::Status MakePrivateFolder(const std::filesystem::path& folder) {
  if (auto status = CreateFolders(folder); !status.ok()) return status;
  if (::chmod(folder.c_str(), 0700) != 0) return FileError(errno, "set the mode of", folder);
  return absl::OkStatus();
}

absl::Status WritePrivateFile(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path draft = path.string() + ".new";
  ::unlink(draft.c_str());  // of a start that was cut off
  UniqueFd fd(::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return FileError(errno, "create", draft);
  absl::Status status = WriteAll(fd.get(), content, draft);
  if (status.ok() && ::fsync(fd.get()) != 0) status = FileError(errno, "sync", draft);
  if (const int error = fd.Close(); status.ok() && error != 0) {
    status = FileError(error, "write", draft);
  }
  if (status.ok() && ::rename(draft.c_str(), path.c_str()) != 0) {
    status = FileError(errno, "rename a draft to", path);
  }
  if (!status.ok()) {
    ::unlink(draft.c_str());
    return status;
  }
  return SyncFolder(path.parent_path());
}

absl::StatusOr<std::string> ReadSmallFile(const std::filesystem::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return FileError(errno, "open", path);
  return ReadAll(fd.get(), path);
}

absl::StatusOr<std::string> ReadSecretFile(const std::filesystem::path& path) {
  // Not to wait where it is a pipe.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat about = {};
  if (!fd.valid() || ::fstat(fd.get(), &about) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "found no file that can be read (", std::strerror(errno), "), expected one with a secret"));
  }
  if (!S_ISREG(about.st_mode)) {
    return absl::InvalidArgumentError("found no regular file, expected one with a secret");
  }
  auto content = ReadAll(fd.get(), path);
  if (!content.ok()) {
    return absl::InvalidArgumentError(
        "found a file that is too large or cannot be read, expected one with a secret");
  }
  // It works all the same: some file systems, and what mounts secrets, know no modes.
  if ((about.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    spdlog::warn("{}: others on this machine can read the secret in it; chmod 600 it",
                 path.string());
  }
  while (content->ends_with('\n') || content->ends_with('\r')) content->pop_back();
  return content;
}

absl::Status WriteAccessFolder(const std::filesystem::path& folder, const AccessFiles& files) {
  if (auto status = MakePrivateFolder(folder); !status.ok()) return status;
  for (const char* name : {"token", "ca.pem", "cert.pem", "key.pem"}) {
    const auto file = files.find(name);
    if (file == files.end()) {
      if (::unlink((folder / name).c_str()) != 0 && errno != ENOENT) {
        return FileError(errno, "remove", folder / name);
      }
    } else if (auto status = WritePrivateFile(folder / name, file->second); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace trainyard::coordinator
