#include "coordinator/source/git_tree.h"

#include <fmt/format.h>

#include <cstring>

#include "coordinator/source/git_objects.h"
#include "coordinator/source/yaml_tree.h"

namespace trainyard::coordinator {
namespace {

class TreeWalk {
 public:
  TreeWalk(git_repository* repository, Odb odb, const SnapshotLimits& limits, const ByteSink& sink,
           const Cancelled& cancelled)
      : repository_(repository),
        odb_(std::move(odb)),
        limits_(limits),
        cancelled_(cancelled),
        writer_(limits, sink) {}

  // `folder` ends with a slash, or is empty for the root.
  absl::Status AddTree(const git_oid& id, const std::string& folder, int depth) {
    // Trees count too: a few small ones that name each other many times stand for millions.
    if (++trees_ > limits_.files) {
      return Refuse(folder,
                    fmt::format("found more than {} folders, expected fewer", limits_.files));
    }
    if (depth > kPathDepthMax) {
      return Refuse(folder, fmt::format("found more than {} levels of folders", kPathDepthMax));
    }
    git_tree* raw = nullptr;
    int code = git_tree_lookup(&raw, repository_, &id);
    Tree tree(raw);
    if (code != 0) return GitError(code, "reading the folder " + Quoted(folder));
    size_t count = git_tree_entrycount(tree.get());
    for (size_t i = 0; i < count; ++i) {
      if (cancelled_ && cancelled_()) return absl::CancelledError("reading the commit");
      absl::Status status = AddEntry(*git_tree_entry_byindex(tree.get(), i), folder, depth);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<SnapshotInfo> Finish() { return writer_.Finish(); }

 private:
  static absl::Status Refuse(const std::string& path, const std::string& message) {
    return absl::InvalidArgumentError(Quoted(path) + ": " + message);
  }

  absl::Status AddEntry(const git_tree_entry& entry, const std::string& folder, int depth) {
    std::string name = git_tree_entry_name(&entry);
    std::string path = folder + name;
    if (name.find('/') != std::string::npos) {
      return Refuse(path, "found a / in a single name, expected none");
    }
    const git_oid& id = *git_tree_entry_id(&entry);
    switch (git_tree_entry_filemode(&entry)) {
      case GIT_FILEMODE_TREE: {
        absl::Status status = CheckSnapshotPath(path);
        return status.ok() ? AddTree(id, path + "/", depth + 1) : status;
      }
      case GIT_FILEMODE_COMMIT:
        return Refuse(path,
                      "found a submodule, expected files only: add its files to the "
                      "repository");
      case GIT_FILEMODE_LINK:
        return AddBlob(id, path, /*link=*/true, false);
      case GIT_FILEMODE_BLOB_EXECUTABLE:
        return AddBlob(id, path, false, /*executable=*/true);
      default:
        return AddBlob(id, path, false, false);
    }
  }

  absl::Status AddBlob(const git_oid& id, const std::string& path, bool link, bool executable) {
    size_t size = 0;
    git_object_t type;
    int code = git_odb_read_header(&size, &type, odb_.get(), &id);
    if (code != 0) return GitError(code, "reading " + Quoted(path));
    // Before it is unpacked into memory.
    int64_t most = link ? static_cast<int64_t>(kPathBytesMax) : limits_.file_bytes;
    if (size > static_cast<uint64_t>(most)) {
      return Refuse(path, fmt::format("found a {} of {} bytes, expected at most {}",
                                      link ? "link" : "file", size, most));
    }
    git_blob* raw = nullptr;
    code = git_blob_lookup(&raw, repository_, &id);
    Blob blob(raw);
    if (code != 0) return GitError(code, "reading " + Quoted(path));
    const char* bytes = static_cast<const char*>(git_blob_rawcontent(blob.get()));
    std::string_view content(bytes, git_blob_rawsize(blob.get()));
    if (link) return writer_.AddLink(path, std::string(content));
    return writer_.AddFile(path, executable, content.size(),
                           [&](char* out, size_t wanted) -> absl::StatusOr<size_t> {
                             size_t part = std::min(wanted, content.size());
                             std::memcpy(out, content.data(), part);
                             content.remove_prefix(part);
                             return part;
                           });
  }

  git_repository* repository_;
  Odb odb_;
  const SnapshotLimits& limits_;
  const Cancelled& cancelled_;
  SnapshotWriter writer_;
  int64_t trees_ = 0;
};

}  // namespace

absl::StatusOr<SnapshotInfo> SnapshotOfCommit(git_repository* repository, const git_oid& commit,
                                              const SnapshotLimits& limits, const ByteSink& sink,
                                              const Cancelled& cancelled) {
  git_commit* raw = nullptr;
  int code = git_commit_lookup(&raw, repository, &commit);
  Commit owned(raw);
  if (code != 0) return GitError(code, "reading the commit");
  git_odb* odb = nullptr;
  code = git_repository_odb(&odb, repository);
  if (code != 0) return GitError(code, "opening the mirror");
  TreeWalk walk(repository, Odb(odb), limits, sink, cancelled);
  absl::Status status = walk.AddTree(*git_commit_tree_id(owned.get()), "", 1);
  if (!status.ok()) return status;
  return walk.Finish();
}

}  // namespace trainyard::coordinator
