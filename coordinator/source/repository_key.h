// Whether two URLs mean the same repository: what a project was added with is seldom what a hook
// calls it.
#pragma once

#include <string>
#include <string_view>

namespace trainyard::coordinator {

// Equal for https://host/team/cnn, https://host/team/cnn.git/, git@host:team/cnn and
// ssh://git@host:22/team/cnn.git: scheme, user, port, case and a .git at the end don't count. Paths
// of this machine stay as they are, but for file:// and the end. Only good for hints: two servers
// on one host share their keys.
std::string RepositoryKey(std::string_view url);

}  // namespace trainyard::coordinator
