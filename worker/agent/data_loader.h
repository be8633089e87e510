// From a spec's description of its data to decoded images: source snapshot, files by hash, reading.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainyard/v1/spec.pb.h"
#include "worker/agent/attempt_control.h"
#include "worker/agent/blob_cache.h"
#include "worker/agent/blob_client.h"
#include "worker/agent/https.h"
#include "worker/engine/dataset.h"
#include "worker/engine/dataset_cache.h"

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

  // The test set is read only for a finishing attempt (`with_test`). What `decoded` has is neither
  // fetched nor unpacked nor decoded, nor looked for: it is what the spec names by hash, whatever
  // became of the files since. INVALID_ARGUMENT: the data are not what the spec says, and trying
  // again cannot help; CANCELLED: the wish is at least kStop; others may pass.
  absl::StatusOr<LoadedData> Load(const v1::JobSpec& spec, const std::string& snapshot_sha256,
                                  bool with_test, const engine::DatasetCache& decoded);

  // The two steps before reading, for programs that read by themselves; errors as above. Locate:
  // where the file or folder is on this host, fetched if it has a URL, unpacked if it is in the
  // snapshot that was loaded.
  absl::Status UnpackSnapshot(const std::string& sha256);
  absl::StatusOr<std::string> Locate(const v1::DataFile& file);

 private:
  absl::StatusOr<std::string> LocateOnHost(const v1::DataFile& file);
  absl::StatusOr<std::string> LocateUrl(const v1::DataFile& file);
  absl::Status CheckHash(const v1::DataFile& file, const std::string& path,
                         const std::string& name);

  struct Files {
    std::vector<std::string> images, labels;
  };
  absl::StatusOr<engine::Dataset> Read(const v1::Data& data, const v1::DataSet& set,
                                       const std::string& which,
                                       const engine::DatasetCache& decoded);
  Files LocateAll(const v1::DataSet& set, const std::string& which);
  void ExpectUnchanged(const Files& files, const std::string& which) const;
  void AwaitDecoder(const std::string& which, bool* told);
  std::string KeyOf(const v1::Data& data, const v1::DataSet& set) const;

  BlobClient& blobs_;
  BlobCache& cache_;
  const HttpsOptions& https_;
  std::string folder_;
  AttemptControl& control_;
  std::string snapshot_;  // its SHA-256, once known
  bool unpacked_ = false;
  std::map<std::string, std::string> hashed_;  // what files were like when their hash was found
};

}  // namespace trainyard::agent
