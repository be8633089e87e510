// Files that configure the coordinator, such as that of pools: text that is parsed strictly.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "coordinator/source/spec_section.h"

namespace trainyard::coordinator {

// The whole text, or one byte more than ParseYaml takes, so that it can say what is wrong.
// INVALID_ARGUMENT, naming `path`, if it cannot be read; `what` is such as "a file of pools".
absl::StatusOr<std::string> ReadConfigFile(const std::string& path, std::string_view what);

// What `read(root, problems)` makes of the text, or all of its problems as one error. `expected`
// says what an empty file lacks.
template <typename Config, typename Read>
absl::StatusOr<Config> ParseConfig(const std::string& text, const std::string& path,
                                   std::string_view expected, Read read) {
  SpecProblems problems;
  Config config;
  if (const auto root = ParseRoot(text, expected, &problems)) config = read(*root, &problems);
  absl::Status status = ProblemsError(path, problems.list());
  if (!status.ok()) return status;
  return config;
}

}  // namespace trainyard::coordinator
