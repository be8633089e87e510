// Source snapshots and data files that this host has fetched before, by hash:
// `<folder>/ab/abcd...`.
//
// Workers of one host share it. A file is complete or absent: it grows under `.part`, is hashed,
// made read-only, fsynced and renamed, all under an flock, which ends with the process that held
// it. What a killed worker left in `.part` is continued, not fetched again.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/agent/attempt_control.h"

namespace trainyard::agent {

class BlobCache {
 public:
  explicit BlobCache(std::string folder) : folder_(std::move(folder)) {}

  // Hands the blob's bytes from `offset` on to the sink. OUT_OF_RANGE: it cannot start there.
  using Sink = std::function<absl::Status(std::string_view)>;
  using Fetcher = std::function<absl::Status(int64_t offset, const Sink& sink)>;

  // Path of the blob, fetched if it is missing or no longer what its name says. Every call hashes
  // the file. Errors: the fetcher's; DATA_LOSS if what it brings has another hash, twice in a row;
  // RESOURCE_EXHAUSTED: disk full; CANCELLED.
  absl::StatusOr<std::string> Get(const std::string& sha256, const Fetcher& fetch,
                                  AttemptControl& control);

 private:
  absl::Status Download(const std::string& sha256, const std::string& part, const Fetcher& fetch);

  std::string folder_;
};

}  // namespace trainyard::agent
