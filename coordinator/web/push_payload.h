// What a hook's body says was pushed. Payloads of GitHub, Gitea and Forgejo, of GitLab, and the
// plain form {"repository": URL or project name, "branch" or "ref", "commit"}, as JSON or as a
// form.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace trainyard::coordinator {

struct PushPayload {
  std::vector<std::string> repositories;  // URLs of it, or a project's name; at least one
  std::string ref;                        // "refs/heads/main" or "main"; empty: not said
  std::string default_branch;             // of the repository; empty: not said
  std::string commit;                     // 7 to 64 hex digits; empty: not said
  bool deleted = false;
};

// Whether bodies of this Content-Type are read: JSON (also where nothing is said) and forms.
bool IsReadable(const std::string& content_type);

// INVALID_ARGUMENT for people, with nothing of the body that a terminal acts on.
absl::StatusOr<PushPayload> ParsePush(const std::string& content_type, const std::string& body);

}  // namespace trainyard::coordinator
