#include "worker/engine/local_disk.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

namespace trainyard::engine {
namespace {

// Of those that <linux/magic.h> does not name.
constexpr uint32_t kXfs = 0x58465342, kZfs = 0x2fc12fc1, kBcachefs = 0xca451a4e, kJfs = 0x3153464a;

constexpr uint32_t kLocal[] = {
    EXT4_SUPER_MAGIC,  // ext2 and ext3, too
    kXfs,
    BTRFS_SUPER_MAGIC,
    kZfs,
    F2FS_SUPER_MAGIC,
    kBcachefs,
    kJfs,
    REISERFS_SUPER_MAGIC,
    TMPFS_MAGIC,
    OVERLAYFS_SUPER_MAGIC,  // a container's; what is written lies on a local one
};

}  // namespace

bool IsLocal(int file) {
  struct statfs status {};
  if (fstatfs(file, &status) != 0) return false;
  return std::ranges::find(kLocal, static_cast<uint32_t>(status.f_type)) != std::end(kLocal);
}

bool IsLocal(const std::string& path) {
  std::error_code error;
  std::filesystem::path at = std::filesystem::absolute(path, error);
  int file = open(at.c_str(), O_PATH | O_CLOEXEC);
  while (file < 0 && at.has_relative_path()) {
    at = at.parent_path();
    file = open(at.c_str(), O_PATH | O_CLOEXEC);
  }
  const bool local = file >= 0 && IsLocal(file);
  if (file >= 0) close(file);
  return local;
}

}  // namespace trainyard::engine
