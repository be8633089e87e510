// From a spec's description of its data to decoded images: source snapshot, files by hash, reading.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "trainyard/v1/spec.pb.h"
#include "worker/agent/attempt_control.h"
#include "worker/agent/blob_cache.h"
#include "worker/agent/blob_client.h"
#include "worker/agent/https.h"
#include "worker/engine/dataset.h"

namespace trainyard::agent {

struct LoadedData {
  engine::Dataset train;
  std::optional<engine::Dataset> validation;  // none: part of train
  std::optional<engine::Dataset> test;
};

class DataLoader {
 public:
  // `folder`: empty, for the unpacked snapshot; it is not cleaned up here.
  DataLoader(BlobClient& blobs, BlobCache& cache, const HttpsOptions& https, std::string folder,
             AttemptControl& control);

  // The test set is read only for a finishing attempt (`with_test`).
  // INVALID_ARGUMENT: the data are not what the spec says, and trying again cannot help;
  // CANCELLED: the wish is at least kStop; others may pass.
  absl::StatusOr<LoadedData> Load(const v1::JobSpec& spec, const std::string& snapshot_sha256,
                                  bool with_test);

  // The two steps before reading, for programs that read by themselves; errors as above. Locate:
  // where the file or folder is on this host, fetched if it has a URL.
  absl::Status UnpackSnapshot(const std::string& sha256);
  absl::StatusOr<std::string> Locate(const v1::DataFile& file);

 private:
  absl::StatusOr<std::string> LocateOnHost(const v1::DataFile& file);
  absl::StatusOr<std::string> LocateUrl(const v1::DataFile& file);
  absl::StatusOr<engine::Dataset> Read(const v1::Data& data, const v1::DataSet& set,
                                       const std::string& which);

  BlobClient& blobs_;
  BlobCache& cache_;
  const HttpsOptions& https_;
  std::string folder_;
  AttemptControl& control_;
};

}  // namespace trainyard::agent
