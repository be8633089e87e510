// The job that makes a native spec of a Keras model: a program of ours, run where Keras is, on a
// file of the source.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/source/job_spec.h"

namespace trainyard::coordinator {

// INVALID_ARGUMENT unless `path` is a file of the snapshot `archive` of a kind that can be
// imported. `overrides` may change budget and resources, not what is run.
absl::StatusOr<JobSpec> MakeImportSpec(const std::filesystem::path& archive,
                                       const std::string& path,
                                       const std::vector<std::string>& overrides);

}  // namespace trainyard::coordinator
