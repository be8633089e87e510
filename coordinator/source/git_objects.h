// libgit2's objects, owned; its errors as statuses.
#pragma once

#include <git2.h>

#include <memory>
#include <string>

#include "absl/status/status.h"

namespace trainyard::coordinator {

template <auto Free>
struct GitFree {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};

using Repository = std::unique_ptr<git_repository, GitFree<git_repository_free>>;
using Remote = std::unique_ptr<git_remote, GitFree<git_remote_free>>;
using Commit = std::unique_ptr<git_commit, GitFree<git_commit_free>>;
using Object = std::unique_ptr<git_object, GitFree<git_object_free>>;
using Tree = std::unique_ptr<git_tree, GitFree<git_tree_free>>;
using Blob = std::unique_ptr<git_blob, GitFree<git_blob_free>>;
using Odb = std::unique_ptr<git_odb, GitFree<git_odb_free>>;

// What the call that returned `code` says. `doing` names the repository. UNAVAILABLE for the
// network and for authentication, NOT_FOUND, CANCELLED for a callback that ended it, DATA_LOSS
// otherwise.
absl::Status GitError(int code, const std::string& doing);

}  // namespace trainyard::coordinator
