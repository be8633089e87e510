// A snapshot: all files of one commit or uploaded folder as one tar, the same bytes for the same
// files wherever and whenever it is made. Its SHA-256 names it.
//
// Both sources end in SnapshotWriter, which refuses what a snapshot must not hold, naming the path:
// names that leave the tree or hide something, links that lead out, too many or too large files.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/source/digest.h"

namespace trainyard::coordinator {

struct SnapshotLimits {
  int64_t files = 200'000;
  int64_t file_bytes = int64_t{512} << 20;
  int64_t total_bytes = int64_t{2} << 30;
};

inline constexpr size_t kPathBytesMax = 1'024;
inline constexpr int kPathDepthMax = 64;

struct SnapshotInfo {
  std::string sha256;
  int64_t files = 0;
  int64_t bytes = 0;  // of the files, unpacked
};

// Where the tar's bytes go, in order. An error ends the snapshot and is passed on.
using ByteSink = std::function<absl::Status(std::string_view)>;
// Where a file's bytes come from: fills up to `size` and returns how many; 0 at the end.
using ByteSource = std::function<absl::StatusOr<size_t>(char* bytes, size_t size)>;

// INVALID_ARGUMENT unless `path` is relative, tidy (no empty, "." or ".." part), UTF-8 without
// control characters, not too long or deep, and without a part called .git.
absl::Status CheckSnapshotPath(std::string_view path);

// INVALID_ARGUMENT unless the link stays in the tree whatever else is a link there: relative, and
// ".." only at its beginning, no more often than the link is deep.
absl::Status CheckSnapshotLink(std::string_view path, std::string_view target);

class SnapshotWriter {
 public:
  SnapshotWriter(const SnapshotLimits& limits, ByteSink sink);

  // In ascending order of the paths' bytes. `size` bytes are taken from `source`.
  absl::Status AddFile(const std::string& path, bool executable, int64_t size,
                       const ByteSource& source);
  absl::Status AddLink(const std::string& path, const std::string& target);
  absl::StatusOr<SnapshotInfo> Finish();

 private:
  absl::Status CheckNext(const std::string& path, int64_t size);
  absl::Status Write(std::string_view bytes);

  const SnapshotLimits limits_;
  const ByteSink sink_;
  Sha256 hash_;
  SnapshotInfo info_;
  std::string last_path_;
};

}  // namespace trainyard::coordinator
