// The file of hooks (docs/hooks.md): whose word is taken for a push to which project. Read as
// strictly as trainyard.yaml; the secrets themselves stand in other files or in the environment.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/source/spec_keys.h"

namespace trainyard::coordinator {

// One entry. A project may have several, as while a secret is replaced.
struct Hook {
  std::string project;       // its name or URL; empty: every project
  std::string secret;        // signs bodies; empty: none does
  std::string token_sha256;  // of what is sent as it is; empty: nothing is
};

// INVALID_ARGUMENT with a line for each problem, and for files that cannot be read. At least one.
absl::StatusOr<std::vector<Hook>> ReadHooks(const std::string& path);

// From the file's text. `path` is for messages, and its folder is where relative paths start.
absl::StatusOr<std::vector<Hook>> ReadHooksText(const std::string& text, const std::string& path);

// Every key that the file may have; docs/hooks.schema.json has the same sections.
const std::vector<SpecSection>& HookSections();

}  // namespace trainyard::coordinator
