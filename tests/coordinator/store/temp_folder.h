// A fresh folder for one test, gone afterwards.
#pragma once

#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace trainyard::coordinator {

class TempFolder {
 public:
  TempFolder() {
    // In memory where there is such a place: tests look at contents, and sync often.
    const bool memory = access("/dev/shm", W_OK) == 0;
    const std::filesystem::path parent =
        memory ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path();
    std::string path = (parent / "trainyard.XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) std::abort();
    path_ = path;
  }
  TempFolder(const TempFolder&) = delete;
  ~TempFolder() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }

  // Makes the folder a disk of its own with so many bytes. False where that is not permitted.
  bool Limit(int64_t bytes) {
    const std::string size = "size=" + std::to_string(bytes);
    mounted_ = mount("tmpfs", path_.c_str(), "tmpfs", 0, size.c_str()) == 0;
    return mounted_;
  }

 private:
  std::filesystem::path path_;
  bool mounted_ = false;
};

}  // namespace trainyard::coordinator
