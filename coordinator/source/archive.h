// Reading snapshots, and making one from an archive that somebody uploaded.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/source/snapshot.h"

namespace trainyard::coordinator {

struct ArchiveFile {
  std::string path;
  std::string link;  // target of a symbolic link; empty: a file
  int64_t size = 0;
  bool executable = false;
};

// In the archive's order. DATA_LOSS where it is damaged.
absl::StatusOr<std::vector<ArchiveFile>> ListArchive(const std::filesystem::path& archive);

// One file's content. NOT_FOUND if there is none of this name (or it is a link), INVALID_ARGUMENT
// if it has more than `bytes_max` bytes.
absl::StatusOr<std::string> ReadArchiveFile(const std::filesystem::path& archive,
                                            const std::string& path, int64_t bytes_max);

// In one pass: `wants` is asked about each file and link, `take` gets the content of each file that
// it wants. DATA_LOSS where the archive is damaged.
absl::Status VisitArchive(const std::filesystem::path& archive,
                          const std::function<bool(const ArchiveFile&)>& wants,
                          const std::function<void(const std::string&, std::string)>& take);

// Unpacks into `folder`, which must be empty or absent. Paths and links are checked again, and
// links made last, so that nothing is written outside.
absl::Status ExtractArchive(const std::filesystem::path& archive,
                            const std::filesystem::path& folder);

// A working folder sent as tar (plain or gzip), in whatever order and with whatever times and
// owners: checked by the rules of a snapshot and written as one. `scratch` is a folder for a
// temporary file.
absl::StatusOr<SnapshotInfo> NormaliseArchive(const std::filesystem::path& archive,
                                              const std::filesystem::path& scratch,
                                              const SnapshotLimits& limits, const ByteSink& sink);

}  // namespace trainyard::coordinator
