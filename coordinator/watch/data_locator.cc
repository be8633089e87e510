#include "coordinator/watch/data_locator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/source/archive.h"

namespace trainyard::coordinator {

namespace fs = std::filesystem;

DataLocator::DataLocator(fs::path snapshot, fs::path scratch, std::vector<std::string> data_roots,
                         Fetch fetch)
    : snapshot_(std::move(snapshot)),
      scratch_(std::move(scratch)),
      data_roots_(std::move(data_roots)),
      fetch_(std::move(fetch)) {}

bool IsInside(const fs::path& path, const fs::path& folder) {
  const auto [in_folder, in_path] =
      std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  // A folder written with a slash at its end has an empty last part.
  return in_folder == folder.end() || (std::next(in_folder) == folder.end() && in_folder->empty());
}

absl::StatusOr<std::string> DataLocator::Locate(const v1::DataFile& file) {
  auto found = !file.path().empty()        ? InSnapshot(file.path())
               : !file.host_path().empty() ? OnHost(file.host_path())
                                           : fetch_(file);
  if (!found.ok() && !absl::IsInvalidArgument(found.status()) && passing_error_.ok()) {
    passing_error_ = found.status();
  }
  return found;
}

absl::StatusOr<std::string> DataLocator::InSnapshot(const std::string& path) {
  if (!unpacked_) {
    if (auto status = ExtractArchive(snapshot_, scratch_); !status.ok()) return status;
    unpacked_ = true;
  }
  std::error_code error;
  const fs::path root = fs::canonical(scratch_, error);
  const fs::path found = fs::weakly_canonical(scratch_ / path, error);
  if (error || !IsInside(found, root)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": leads out of the repository, expected a path inside it"));
  }
  return found.string();
}

absl::StatusOr<std::string> DataLocator::OnHost(const std::string& path) const {
  std::error_code error;
  const fs::path found = fs::weakly_canonical(path, error);
  for (const std::string& root : data_roots_) {
    if (!error && IsInside(found, fs::weakly_canonical(root))) return found.string();
  }
  if (data_roots_.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": this coordinator has no data roots, expected a path inside the repository"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": found a path outside of the data roots, expected one under ",
                   absl::StrJoin(data_roots_, " or ")));
}

}  // namespace trainyard::coordinator
