// Where a spec's data files lie on this machine: in the snapshot, unpacked only if it is asked for,
// or under a data root.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainyard/v1/spec.pb.h"

namespace trainyard::coordinator {

class DataLocator {
 public:
  // Makes the file of a URL lie somewhere.
  using Fetch = std::function<absl::StatusOr<std::string>(const v1::DataFile&)>;

  // `scratch`: a folder of the caller's, empty, that the caller removes.
  DataLocator(std::filesystem::path snapshot, std::filesystem::path scratch,
              std::vector<std::string> data_roots, Fetch fetch);

  // INVALID_ARGUMENT for a path that leads out of the snapshot or the data roots, through links
  // too. Whether the file exists is for its reader to say.
  absl::StatusOr<std::string> Locate(const v1::DataFile& file);

  // The first error that says nothing about the spec and may pass: out of reach, disk full,
  // stopping.
  const absl::Status& passing_error() const { return passing_error_; }

 private:
  absl::StatusOr<std::string> InSnapshot(const std::string& path);
  absl::StatusOr<std::string> OnHost(const std::string& path) const;

  const std::filesystem::path snapshot_;
  const std::filesystem::path scratch_;
  const std::vector<std::string> data_roots_;
  const Fetch fetch_;
  bool unpacked_ = false;
  absl::Status passing_error_;
};

// Whether `path` is `folder` or lies in it; both absolute and without links or dots.
bool IsInside(const std::filesystem::path& path, const std::filesystem::path& folder);

}  // namespace trainyard::coordinator
