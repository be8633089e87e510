#include "worker/agent/gpu_claim.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"

namespace trainyard::agent {
namespace {

// Below 0: errno says why not. To be locked a file need only be read, so workers of several users
// can share it. Made apart from being opened: where everybody may write, Linux lets nobody open
// another user's file with O_CREAT.
int OpenFile(const std::string& path) {
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  for (;;) {
    int file = open(path.c_str(), kFlags);
    if (file >= 0 || errno != ENOENT) return file;
    file = open(path.c_str(), kFlags | O_CREAT | O_EXCL, 0644);
    if (file >= 0) fchmod(file, 0644);  // whatever the umask takes from it
    if (file >= 0 || errno != EEXIST) return file;
  }
}

}  // namespace

std::string DefaultGpuClaimFolder() {
  constexpr char kLocks[] = "/run/lock";
  return access(kLocks, W_OK | X_OK) == 0 ? kLocks
                                          : std::filesystem::temp_directory_path().string();
}

absl::StatusOr<GpuClaim> GpuClaim::Take(const std::string& folder, const std::string& gpu) {
  std::string name = gpu;
  std::replace(name.begin(), name.end(), '/', '_');  // "MIG-GPU-.../1/0", as older drivers have it
  const std::string path = absl::StrCat(folder, "/trainyard-", name, ".lock");
  auto file = std::make_unique<OwnedFile>(OpenFile(path));
  if (file->handle() < 0) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  if (flock(file->handle(), LOCK_EX | LOCK_NB) == 0) return GpuClaim(std::move(file));
  if (errno == EWOULDBLOCK) {
    return absl::UnavailableError(absl::StrCat(gpu, " is taken by another worker"));
  }
  return absl::FailedPreconditionError(absl::StrCat(path, ": ", std::strerror(errno)));
}

}  // namespace trainyard::agent
