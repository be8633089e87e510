// Checkpoints, models, source snapshots and data files: immutable files named by their SHA-256.
//
// A blob is written to a temporary name, fsynced, hashed, renamed, and its folder fsynced; only
// then does it exist. Thread-safe. A blob whose bytes no longer match its name is set aside
// (`broken/`) when read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainyard::coordinator {

class Blobs {
 public:
  // Creates the folders; clears what half-written uploads left behind.
  static absl::StatusOr<std::unique_ptr<Blobs>> Open(const std::filesystem::path& folder);

  // One upload. Dropping it before Commit leaves nothing behind.
  class Writer {
   public:
    virtual ~Writer() = default;
    // RESOURCE_EXHAUSTED on a full disk.
    virtual absl::Status Append(std::string_view bytes) = 0;
    // Makes the blob exist and returns its SHA-256 in hex. DATA_LOSS if `expected_sha256` is not
    // empty and differs.
    virtual absl::StatusOr<std::string> Commit(std::string_view expected_sha256) = 0;
  };
  absl::StatusOr<std::unique_ptr<Writer>> Create();
  absl::StatusOr<std::string> Put(std::string_view bytes);

  bool Has(std::string_view sha256) const;
  absl::StatusOr<int64_t> Size(std::string_view sha256) const;  // NOT_FOUND
  absl::StatusOr<std::filesystem::path> Path(std::string_view sha256) const;
  // Whole content hashed: DATA_LOSS (and set aside) if torn or altered, NOT_FOUND.
  absl::Status Verify(std::string_view sha256);
  void Remove(std::string_view sha256);  // gone afterwards, whether it was there or not

 private:
  class FileWriter;
  explicit Blobs(std::filesystem::path folder);
  std::filesystem::path PathOf(std::string_view sha256) const;

  // Constant after construction. Blobs lie in folder_/ab/abcd..., uploads in folder_/uploads.
  const std::filesystem::path folder_;

  // Held while a name comes to mean another file, so that a sound file that was just uploaded is
  // not set aside for the torn one it replaces.
  std::mutex names_;
};

}  // namespace trainyard::coordinator
