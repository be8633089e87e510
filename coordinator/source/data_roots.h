// Absolute paths in a spec are let through only below the folders that the pool declares.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace trainyard::coordinator {

// The real path of `host_path`, with every symbolic link followed, if it lies in one of the roots
// (real paths too). INVALID_ARGUMENT, naming the roots, if it doesn't; NOT_FOUND if there is none.
absl::StatusOr<std::filesystem::path> ResolveHostPath(const std::string& host_path,
                                                      const std::vector<std::string>& roots);

}  // namespace trainyard::coordinator
