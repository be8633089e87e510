// Files that appear whole or not at all.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <string_view>

namespace trainyard::cli {

// A file that is written under a temporary name in the same folder. Without Commit nothing stays.
class AtomicFile {
 public:
  // INVALID_ARGUMENT when `path` cannot be a file there: no such folder, itself a folder, no
  // permission.
  static absl::StatusOr<std::unique_ptr<AtomicFile>> Create(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  absl::Status Write(std::string_view data);
  // Makes it lasting under its real name, replacing what was there.
  absl::Status Commit();

 private:
  AtomicFile(std::string path, std::string temporary, int descriptor)
      : path_(std::move(path)), temporary_(std::move(temporary)), descriptor_(descriptor) {}

  const std::string path_;
  const std::string temporary_;
  int descriptor_;
  bool committed_ = false;
};

}  // namespace trainyard::cli
