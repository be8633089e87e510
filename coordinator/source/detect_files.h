// What detection reads of a repository: a list of its files, and some of them. So it can be asked
// about an archive of a snapshot as well as about files that a test makes up.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"

namespace trainyard::coordinator {

class SourceFiles {
 public:
  virtual ~SourceFiles() = default;

  // All regular files, in any order.
  virtual absl::Status List(
      const std::function<void(const std::string& path, int64_t bytes)>& visit) const = 0;
  // Those of `paths` that are there, in any order.
  virtual absl::Status Read(
      const std::set<std::string>& paths,
      const std::function<void(const std::string& path, std::string content)>& take) const = 0;
};

// A snapshot's tar. Each call is one pass over it; what is not asked for is not read.
std::unique_ptr<SourceFiles> FilesOfArchive(std::filesystem::path archive);

}  // namespace trainyard::coordinator
