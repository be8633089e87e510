// What blobs and records share about files: closing, and making what was written last.
#pragma once

#include <filesystem>
#include <utility>

#include "absl/status/status.h"

namespace trainyard::coordinator {

// Owns a file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd();

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  // Closes now and returns errno, or 0: some file systems report a full disk only here.
  int Close();

 private:
  int fd_ = -1;
};

// What `error` (an errno) kept us from doing: RESOURCE_EXHAUSTED for a full disk or quota,
// NOT_FOUND, PERMISSION_DENIED, ... The text names the path and the system's reason.
absl::Status FileError(int error, const char* doing, const std::filesystem::path& path);

// Makes what was created, renamed or deleted in the folder survive a power cut.
absl::Status SyncFolder(const std::filesystem::path& folder);

// Creates the folder and those above it, each synced into its parent.
absl::Status CreateFolders(const std::filesystem::path& folder);

}  // namespace trainyard::coordinator
