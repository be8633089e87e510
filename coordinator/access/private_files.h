// Files that hold secrets: readable by their owner alone, and there whole or not at all.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/launch/launcher.h"

namespace trainyard::coordinator {

// Makes the folder and those above it, and takes everybody else's rights to it away.
absl::Status MakePrivateFolder(const std::filesystem::path& folder);

// Writes the file with mode 0600, in place of what was there; it survives a power cut.
absl::Status WritePrivateFile(const std::filesystem::path& path, std::string_view content);

// The whole file, at most 1 MiB. NOT_FOUND if there is none.
absl::StatusOr<std::string> ReadSmallFile(const std::filesystem::path& path);

// A secret that somebody put into a file, without the line's end behind it. The message of an error
// is to be put behind the place that names the file; it does not repeat the name, since the secret
// itself may have been written there by mistake. A file that others can read is warned of in the
// log.
absl::StatusOr<std::string> ReadSecretFile(const std::filesystem::path& path);

// An access folder (proto/access.h says what may be in it): made private, and holding these files
// and none from before.
absl::Status WriteAccessFolder(const std::filesystem::path& folder, const AccessFiles& files);

}  // namespace trainyard::coordinator
