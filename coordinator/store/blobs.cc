#include "coordinator/store/blobs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "coordinator/source/digest.h"
#include "coordinator/store/files.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBufferBytes = 1 << 20;

// Names come from the network too: nothing but 64 hex digits ever becomes part of a path.
bool IsSha256(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

absl::Status NoSuchBlob(std::string_view sha256, const fs::path& folder) {
  return absl::NotFoundError(
      fmt::format("no blob '{}' in {}", sha256.substr(0, 64), folder.string()));
}

absl::Status WriteAll(int fd, std::string_view bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(errno, "write", path);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> HashFile(int fd, const fs::path& path) {
  Sha256 hash;
  std::vector<char> buffer(kBufferBytes);
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(errno, "read", path);
    if (got == 0) return hash.Hex();
    hash.Add({buffer.data(), static_cast<size_t>(got)});
  }
}

}  // namespace

class Blobs::FileWriter : public Blobs::Writer {
 public:
  FileWriter(Blobs* blobs, UniqueFd fd, fs::path path)
      : blobs_(blobs), fd_(std::move(fd)), path_(std::move(path)) {}

  ~FileWriter() override {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  absl::Status Append(std::string_view bytes) override {
    if (!failure_.ok()) return failure_;
    hash_.Add(bytes);
    failure_ = WriteAll(fd_.get(), bytes, path_);
    return failure_;
  }

  absl::StatusOr<std::string> Commit(std::string_view expected_sha256) override {
    if (!failure_.ok()) return failure_;
    failure_ = absl::FailedPreconditionError("this upload is over: " + path_.string());
    // A failed fsync may have dropped the pages: the file is given up, never synced again.
    if (::fsync(fd_.get()) != 0) return FileError(errno, "sync", path_);
    if (const int error = fd_.Close(); error != 0) return FileError(error, "close", path_);
    std::string sha256 = hash_.Hex();
    if (!IsSha256(sha256)) return absl::InternalError("OpenSSL cannot compute a SHA-256");
    if (!expected_sha256.empty() && sha256 != expected_sha256) {
      return absl::DataLossError(fmt::format("upload to {}: found SHA-256 {}, expected {}",
                                             blobs_->folder_.string(), sha256, expected_sha256));
    }
    const fs::path target = blobs_->PathOf(sha256);
    if (absl::Status status = CreateFolders(target.parent_path()); !status.ok()) return status;
    {
      // Also where the blob is there already: what lies there may be torn by now, this is not.
      std::lock_guard lock(blobs_->names_);
      if (::rename(path_.c_str(), target.c_str()) != 0) return FileError(errno, "create", target);
    }
    path_.clear();
    if (absl::Status status = SyncFolder(target.parent_path()); !status.ok()) return status;
    return sha256;
  }

 private:
  Blobs* const blobs_;
  UniqueFd fd_;
  fs::path path_;  // empty once renamed
  Sha256 hash_;
  absl::Status failure_;
};

Blobs::Blobs(fs::path folder) : folder_(std::move(folder)) {}

absl::StatusOr<std::unique_ptr<Blobs>> Blobs::Open(const fs::path& folder) {
  std::error_code error;
  const fs::path absolute = fs::absolute(folder, error);
  if (error) return FileError(error.value(), "find", folder);
  const fs::path uploads = absolute / "uploads";
  fs::remove_all(uploads, error);
  if (error) return FileError(error.value(), "clear", uploads);
  for (const fs::path& needed : {absolute, uploads, absolute / "broken"}) {
    if (absl::Status status = CreateFolders(needed); !status.ok()) return status;
  }
  return std::unique_ptr<Blobs>(new Blobs(absolute));
}

fs::path Blobs::PathOf(std::string_view sha256) const {
  return folder_ / sha256.substr(0, 2) / sha256;
}

absl::StatusOr<std::unique_ptr<Blobs::Writer>> Blobs::Create() {
  static std::atomic<int64_t> uploads{0};
  const fs::path path = folder_ / "uploads" / fmt::format("{}.{}", ::getpid(), ++uploads);
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return FileError(errno, "create", path);
  return std::make_unique<FileWriter>(this, std::move(fd), path);
}

absl::StatusOr<std::string> Blobs::Put(std::string_view bytes) {
  absl::StatusOr<std::unique_ptr<Writer>> writer = Create();
  if (!writer.ok()) return writer.status();
  if (absl::Status status = (*writer)->Append(bytes); !status.ok()) return status;
  return (*writer)->Commit("");
}

bool Blobs::Has(std::string_view sha256) const { return Size(sha256).ok(); }

absl::StatusOr<int64_t> Blobs::Size(std::string_view sha256) const {
  if (!IsSha256(sha256)) return NoSuchBlob(sha256, folder_);
  struct stat found;
  if (::stat(PathOf(sha256).c_str(), &found) != 0) {
    if (errno == ENOENT) return NoSuchBlob(sha256, folder_);
    return FileError(errno, "read", PathOf(sha256));
  }
  return static_cast<int64_t>(found.st_size);
}

absl::StatusOr<fs::path> Blobs::Path(std::string_view sha256) const {
  if (absl::StatusOr<int64_t> size = Size(sha256); !size.ok()) return size.status();
  return PathOf(sha256);
}

absl::Status Blobs::Verify(std::string_view sha256) {
  if (!IsSha256(sha256)) return NoSuchBlob(sha256, folder_);
  const fs::path path = PathOf(sha256);
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) {
    return errno == ENOENT ? NoSuchBlob(sha256, folder_) : FileError(errno, "open", path);
  }
  absl::StatusOr<std::string> found = HashFile(fd.get(), path);
  if (!found.ok()) return found.status();
  if (*found == sha256) return absl::OkStatus();

  struct stat hashed, named;
  if (::fstat(fd.get(), &hashed) != 0) return FileError(errno, "read", path);
  const fs::path aside = folder_ / "broken" / fmt::format("{}.{}", sha256, hashed.st_ino);
  {
    std::lock_guard lock(names_);
    if (::stat(path.c_str(), &named) != 0) return NoSuchBlob(sha256, folder_);
    if (named.st_ino != hashed.st_ino || named.st_dev != hashed.st_dev) {
      return absl::OkStatus();  // replaced meanwhile by an upload, and those are hashed
    }
    if (::rename(path.c_str(), aside.c_str()) != 0) return FileError(errno, "set aside", path);
  }
  if (absl::Status status = SyncFolder(path.parent_path()); !status.ok()) return status;
  return absl::DataLossError(
      fmt::format("{} is torn or altered: found SHA-256 {} in {} bytes; set aside as {}",
                  path.string(), *found, hashed.st_size, aside.string()));
}

void Blobs::Remove(std::string_view sha256) {
  if (!IsSha256(sha256)) return;
  const fs::path path = PathOf(sha256);
  if (::unlink(path.c_str()) == 0) SyncFolder(path.parent_path()).IgnoreError();
}

}  // namespace trainyard::coordinator
