// A worker process's own folder: unpacked sources and checkpoints on their way.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace trainyard::agent {

// `<parent>/worker-<pid>-<random>`, locked for as long as the process lives, however it ends.
// Opening one sweeps away those whose process is gone, except for checkpoints that an orphan kept:
// they stay for a week.
class WorkFolder {
 public:
  static absl::StatusOr<WorkFolder> Open(const std::string& parent);
  WorkFolder(WorkFolder&& other) noexcept;
  ~WorkFolder();  // removes it, unless kept

  const std::string& path() const { return path_; }

  // Leaves the folder behind: the coordinator never got the checkpoint in it.
  void Keep();

 private:
  WorkFolder(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}

  std::string path_;
  int lock_;
  bool kept_ = false;
};

}  // namespace trainyard::agent
