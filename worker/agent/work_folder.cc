#include "worker/agent/work_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace trainyard::agent {
namespace {

namespace fs = std::filesystem;

constexpr char kPrefix[] = "worker-";
constexpr auto kKeepFor = std::chrono::hours(7 * 24);

// Handle of the locked lock file, or -1.
int LockFolder(const fs::path& folder, int flags) {
  const int file = open((folder / "lock").c_str(), O_RDWR | O_CLOEXEC | flags, 0666);
  if (file >= 0 && flock(file, LOCK_EX | LOCK_NB) == 0) return file;
  if (file >= 0) close(file);
  return -1;
}

void Sweep(const std::string& parent) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(parent, error)) {
    if (!absl::StartsWith(entry.path().filename().string(), kPrefix)) continue;
    const int lock = LockFolder(entry.path(), 0);
    if (lock < 0) continue;  // alive, or not made by us
    const auto kept = fs::last_write_time(entry.path() / "kept", error);
    if (error || fs::file_time_type::clock::now() - kept > kKeepFor) {
      fs::remove_all(entry.path(), error);
    }
    close(lock);
  }
}

}  // namespace

absl::StatusOr<WorkFolder> WorkFolder::Open(const std::string& parent) {
  std::error_code error;
  fs::create_directories(parent, error);
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat("work folder ", parent, " cannot be made: ", error.message()));
  }
  Sweep(parent);
  const std::string path =
      absl::StrCat(parent, "/", kPrefix, getpid(), "-", absl::Hex(std::random_device{}()));
  fs::create_directory(path, error);
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat("work folder ", path, " cannot be made: ", error.message()));
  }
  const int lock = LockFolder(path, O_CREAT);
  if (lock < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("work folder ", path, " cannot be locked: ", strerror(errno)));
  }
  return WorkFolder(path, lock);
}

WorkFolder::WorkFolder(WorkFolder&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)), kept_(other.kept_) {}

WorkFolder::~WorkFolder() {
  if (lock_ < 0) return;
  std::error_code error;
  if (!kept_) fs::remove_all(path_, error);
  close(lock_);
}

void WorkFolder::Keep() {
  kept_ = true;
  std::ofstream(path_ + "/kept") << "its checkpoint never reached the coordinator\n";
}

}  // namespace trainyard::agent
