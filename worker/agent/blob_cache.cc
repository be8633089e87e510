#include "worker/agent/blob_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "worker/agent/digest.h"
#include "worker/agent/owned_file.h"

namespace trainyard::agent {
namespace {

namespace fs = std::filesystem;

// Disk full gets its own code, whatever call noticed it.
absl::Status FileError(int error, const std::string& what) {
  if (error == ENOSPC || error == EDQUOT) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": disk full"));
  }
  return absl::UnavailableError(absl::StrCat(what, ": ", strerror(error)));
}

absl::Status Append(int file, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t size = write(file, bytes.data(), bytes.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return FileError(errno, absl::StrCat("writing ", path));
    bytes.remove_prefix(static_cast<size_t>(size));
  }
  return absl::OkStatus();
}

// Waits for the lock in slices, so that a stop is heard.
absl::Status Lock(int file, const std::string& path, AttemptControl& control) {
  while (flock(file, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return FileError(errno, "locking " + path);
    if (!control.Sleep(std::chrono::milliseconds(50), Wish::kStop)) {
      return absl::CancelledError(control.reason());
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> BlobCache::Get(const std::string& sha256, const Fetcher& fetch,
                                           AttemptControl& control) {
  if (!IsHash(sha256)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", sha256, "\" is no SHA-256: expected 64 lower-case hex digits"));
  }
  const std::string subfolder = absl::StrCat(folder_, "/", sha256.substr(0, 2));
  std::error_code error;
  fs::create_directories(subfolder, error);
  if (error) return FileError(error.value(), absl::StrCat("creating ", subfolder));

  const std::string path = absl::StrCat(subfolder, "/", sha256);
  const std::string lock_path = path + ".lock";
  const OwnedFile lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (lock.handle() < 0) return FileError(errno, absl::StrCat("opening ", lock_path));
  if (absl::Status status = Lock(lock.handle(), lock_path, control); !status.ok()) return status;

  if (fs::exists(path, error)) {
    const absl::StatusOr<std::string> found = HashOfFile(path);
    if (found.ok() && *found == sha256) return path;
    spdlog::warn("cache: {} is torn or altered ({}); it is fetched again", path,
                 found.ok() ? absl::StrCat("SHA-256 ", *found) : found.status().ToString());
    fs::remove(path, error);
  }
  const std::string part = path + ".part";
  if (absl::Status status = Download(sha256, part, fetch); !status.ok()) return status;
  if (rename(part.c_str(), path.c_str()) != 0) return FileError(errno, "renaming " + part);
  const OwnedFile folder(open(subfolder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.handle() < 0 || fsync(folder.handle()) != 0) {
    return FileError(errno, absl::StrCat("syncing ", subfolder));
  }
  return path;
}

absl::Status BlobCache::Download(const std::string& sha256, const std::string& part,
                                 const Fetcher& fetch) {
  // Two tries: the first may continue a part that is torn itself.
  std::string found;
  for (int round = 0; round < 2; ++round) {
    const OwnedFile file(open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (file.handle() < 0) return FileError(errno, absl::StrCat("opening ", part));
    if (round > 0 && ftruncate(file.handle(), 0) != 0) {
      return FileError(errno, absl::StrCat("truncating ", part));
    }
    const off_t offset = lseek(file.handle(), 0, SEEK_END);
    if (offset < 0) return FileError(errno, absl::StrCat("seeking in ", part));
    const absl::Status status =
        fetch(offset, [&](std::string_view bytes) { return Append(file.handle(), bytes, part); });
    // Longer than the blob, or the other side only sends it whole.
    const bool misplaced = absl::IsOutOfRange(status) || absl::IsInvalidArgument(status);
    if (misplaced && offset > 0) continue;
    if (absl::IsDataLoss(status) && round == 0) continue;
    if (!status.ok()) return status;

    const absl::StatusOr<std::string> hash = HashOfFile(part);
    if (!hash.ok()) return absl::UnavailableError(hash.status().message());
    found = *hash;
    if (found == sha256) {
      fchmod(file.handle(), 0444);
      if (fsync(file.handle()) != 0) return FileError(errno, absl::StrCat("syncing ", part));
      return absl::OkStatus();
    }
    spdlog::warn("cache: fetched {} and found SHA-256 {}; fetching it from the start", sha256,
                 found);
  }
  std::error_code error;
  fs::remove(part, error);
  return absl::DataLossError(
      absl::StrCat("expected SHA-256 ", sha256, ", found ", found, " in what was fetched, twice"));
}

}  // namespace trainyard::agent
