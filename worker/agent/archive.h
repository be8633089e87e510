// Unpacks a source snapshot, which is a stranger's archive.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace trainyard::agent {

// Extracts the tar file `archive` into the empty folder `folder`. INVALID_ARGUMENT, naming the
// entry, for absolute paths, "..", links that lead out of the folder, devices, and anything that is
// no tar; RESOURCE_EXHAUSTED: disk full; UNAVAILABLE: it could not be read or written.
absl::Status ExtractArchive(const std::string& archive, const std::string& folder);

// Path of `relative` inside `folder`, links followed. INVALID_ARGUMENT if it leads out of the
// folder or does not exist; names `relative` alone, for people do not know the folder.
absl::Status ResolveInside(const std::string& folder, const std::string& relative,
                           std::string* path);

}  // namespace trainyard::agent
