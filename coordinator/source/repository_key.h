// Which repository a URL means: what a project was added with is seldom what a hook or a forge
// calls it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trainyard::coordinator {

// Where a repository is on another machine; both point into the URL.
struct RemoteRepository {
  std::string_view host;  // without user and port; brackets stay around an IPv6 address
  std::string_view path;  // without / around it and .git at its end
};

// From https://host/team/cnn.git/, any other scheme but file://, or git@host:team/cnn; nothing:
// a path of this machine.
std::optional<RemoteRepository> RemoteRepositoryOf(std::string_view url);

// Whether two URLs mean the same repository: equal for https://host/team/cnn,
// https://host/team/cnn.git/, git@host:team/cnn and ssh://git@host:22/team/cnn.git: scheme, user,
// port, case and a .git at the end don't count. Paths of this machine stay as they are, but for
// file:// and the end. Only good for hints: two servers on one host share their keys.
std::string RepositoryKey(std::string_view url);

}  // namespace trainyard::coordinator
