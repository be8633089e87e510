// Where a spec's data files lie on this machine: in the snapshot, unpacked only if it is asked for,
// or under a data root.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainyard/v1/spec.pb.h"

namespace trainyard::coordinator {

class DataLocator {
 public:
  // `scratch`: a folder of the caller's, empty, that the caller removes.
  DataLocator(std::filesystem::path snapshot, std::filesystem::path scratch,
              std::vector<std::string> data_roots);

  // INVALID_ARGUMENT for a path that leads out of the snapshot or the data roots, through links
  // too. Whether the file exists is for its reader to say.
  absl::StatusOr<std::string> Locate(const v1::DataFile& file);

 private:
  absl::StatusOr<std::string> InSnapshot(const std::string& path);
  absl::StatusOr<std::string> OnHost(const std::string& path) const;

  const std::filesystem::path snapshot_;
  const std::filesystem::path scratch_;
  const std::vector<std::string> data_roots_;
  bool unpacked_ = false;
};

// Whether `path` is `folder` or lies in it; both absolute and without links or dots.
bool IsInside(const std::filesystem::path& path, const std::filesystem::path& folder);

}  // namespace trainyard::coordinator
