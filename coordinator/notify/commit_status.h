// A notice as the status of a commit, by the API of GitHub, which Gitea and Forgejo have too.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "coordinator/notify/notice.h"
#include "coordinator/notify/notify_config.h"

namespace trainyard::coordinator {

// "owner/name" of a repository on this host, from a URL of any form that RemoteRepositoryOf takes.
std::optional<std::string> RepositoryOn(const std::string& host, const std::string& url);

// Whether it is "owner/name", safe in a path.
bool IsRepositoryName(std::string_view text);

// Whose commit's status this notice is; nothing: none's that is known to this server.
std::optional<std::string> RepositoryOf(const v1::Job& job, const CommitStatusConfig& config);

std::string CommitStatusBody(const JobNotice& notice, const std::string& context);

}  // namespace trainyard::coordinator
