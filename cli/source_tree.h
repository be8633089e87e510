// What of a local folder goes to the coordinator: everything that Git would not ignore, or the
// files of one commit. Symbolic links stay links and must point inside.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct git_repository;

namespace trainyard::cli {

struct SourceFile {
  std::string path;  // within the source, with slashes
  int64_t bytes = 0;
  bool executable = false;
  std::string link;     // of a symbolic link: where it points
  std::string on_disk;  // where its content is read from, or:
  std::string blob;     // the Git object that holds it, hex
};

struct SourceTree {
  std::vector<SourceFile> files;   // by path
  std::string commit;              // that the files are exactly those of; empty: of none
  std::vector<std::string> notes;  // what was left out and is worth saying
  std::shared_ptr<git_repository> repository;  // libgit2's handle, while blobs are needed
  int64_t bytes() const;
};

// The folder as it stands. .gitignore is honoured whether or not Git is used there; .git is left
// out.
absl::StatusOr<SourceTree> ReadFolder(const std::string& folder);

// One file of it alone, whether or not Git would ignore it.
absl::StatusOr<SourceTree> ReadOneFile(const std::string& folder, const std::string& name);

// The commit that `revision` (branch, tag, commit) names in the Git repository at `folder`.
absl::StatusOr<SourceTree> ReadRevision(const std::string& folder, const std::string& revision);

// Replaces the tree's trainyard.yaml by the file `spec`; the tree then is no commit's any more.
absl::Status UseSpec(SourceTree& tree, const std::string& spec);

// Names the largest files when the tree has more than `max_bytes`, or nothing in it.
absl::Status CheckSize(const SourceTree& tree, int64_t max_bytes);

// The tree as a tar archive, in pieces of at most `piece_bytes`. The same files make the same
// bytes: no times, no owners. `sink` may refuse to go on.
absl::Status WriteTar(const SourceTree& tree, size_t piece_bytes,
                      const std::function<absl::Status(std::string_view)>& sink);

}  // namespace trainyard::cli
