// Files that configure the coordinator, such as that of pools: text that is parsed strictly.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace trainyard::coordinator {

// The whole text, or one byte more than ParseYaml takes, so that it can say what is wrong.
// INVALID_ARGUMENT, naming `path`, if it cannot be read; `what` is such as "a file of pools".
absl::StatusOr<std::string> ReadConfigFile(const std::string& path, std::string_view what);

}  // namespace trainyard::coordinator
