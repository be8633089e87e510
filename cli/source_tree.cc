#include "cli/source_tree.h"

#include <fmt/format.h>
#include <git2.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "cli/text.h"

// git_repository_new makes a repository without a place on disk; it is all that ignore rules need.
#include <git2/sys/repository.h>

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFiles = 200'000;
constexpr int kMaxDepth = 64;

std::string GitError() {
  const git_error* error = git_error_last();
  return error == nullptr || error->message == nullptr ? "unknown error"
                                                       : CleanLine(error->message, 500);
}

template <typename T>
std::shared_ptr<T> Own(T* handle, void (*release)(T*)) {
  return {handle, release};
}

void InitGit() {
  static const bool done = [] {
    git_libgit2_init();
    // People submit what they may read; whose it is matters to Git's hooks, which don't run here.
    git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
    return true;
  }();
  (void)done;
}

// The checkout that `folder` lies in, or null.
std::shared_ptr<git_repository> OpenCheckout(const std::string& folder) {
  git_repository* repository = nullptr;
  if (git_repository_open_ext(&repository, folder.c_str(), 0, nullptr) != 0) return nullptr;
  if (git_repository_workdir(repository) == nullptr) {
    git_repository_free(repository);
    return nullptr;
  }
  return Own(repository, git_repository_free);
}

// Says which paths of a folder Git would leave out.
class IgnoreRules {
 public:
  static absl::StatusOr<IgnoreRules> Of(const std::string& folder,
                                        std::shared_ptr<git_repository> checkout) {
    IgnoreRules rules;
    if (checkout != nullptr) {
      const std::string top = fs::canonical(git_repository_workdir(checkout.get())).string();
      const std::string prefix = fs::canonical(folder).lexically_relative(top).string();
      if (prefix != ".") rules.prefix_ = prefix + "/";
      git_index* index = nullptr;
      if (git_repository_index(&index, checkout.get()) == 0)
        rules.index_ = Own(index, git_index_free);
      rules.repository_ = std::move(checkout);
      return rules;
    }
    git_repository* repository = nullptr;
    git_config* config = nullptr;
    if (git_repository_new(&repository) != 0) return absl::InternalError("libgit2: " + GitError());
    rules.repository_ = Own(repository, git_repository_free);
    if (git_config_new(&config) != 0 || git_repository_set_config(repository, config) != 0 ||
        git_repository_set_workdir(repository, folder.c_str(), 0) != 0) {
      git_config_free(config);
      return absl::InternalError(
          fmt::format("{}: reading ignore rules: {}", CleanLine(folder), GitError()));
    }
    git_config_free(config);
    return rules;
  }

  absl::StatusOr<bool> Ignores(const std::string& path, bool is_folder) const {
    const std::string full = prefix_ + path;
    int ignored = 0;
    if (git_ignore_path_is_ignored(&ignored, repository_.get(),
                                   (full + (is_folder ? "/" : "")).c_str()) != 0) {
      return absl::InternalError(
          fmt::format("{}: reading ignore rules: {}", CleanLine(path), GitError()));
    }
    return ignored != 0 && !Tracked(full, is_folder);  // what Git has, it keeps, ignored or not
  }

 private:
  bool Tracked(const std::string& path, bool is_folder) const {
    if (index_ == nullptr) return false;
    size_t position = 0;
    if (is_folder) return git_index_find_prefix(&position, index_.get(), (path + "/").c_str()) == 0;
    return git_index_find(&position, index_.get(), path.c_str()) == 0;
  }

  std::shared_ptr<git_repository> repository_;
  std::shared_ptr<git_index> index_;
  std::string prefix_;  // of the folder within the checkout
};

absl::Status CheckLink(const std::string& path, const std::string& link) {
  const fs::path target = (fs::path(path).parent_path() / link).lexically_normal();
  if (fs::path(link).is_absolute() || (!target.empty() && *target.begin() == "..")) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: a symbolic link to {}, outside of the folder; expected the file itself, or data by an "
        "absolute path in trainyard.yaml",
        CleanLine(path), CleanLine(link)));
  }
  return absl::OkStatus();
}

class FolderReader {
 public:
  FolderReader(const std::string& folder, const IgnoreRules& rules, SourceTree& tree)
      : folder_(folder), rules_(rules), tree_(tree) {}

  absl::Status Read(const std::string& below, int depth) {
    if (depth > kMaxDepth) {
      return absl::InvalidArgumentError(
          fmt::format("{}: more than {} folders deep", CleanLine(below), kMaxDepth));
    }
    std::error_code error;
    std::vector<fs::directory_entry> entries;
    for (fs::directory_iterator at(fs::path(folder_) / below, error), end; !error && at != end;
         at.increment(error)) {
      entries.push_back(*at);
    }
    if (error) {
      return absl::InvalidArgumentError(fmt::format("{}: cannot be read: {}",
                                                    CleanLine((fs::path(folder_) / below).string()),
                                                    error.message()));
    }
    for (const auto& entry : entries) {
      const std::string name = entry.path().filename().string();
      if (name == ".git") continue;
      if (absl::Status status = Take(entry, below.empty() ? name : below + "/" + name, depth);
          !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Take(const fs::directory_entry& entry, const std::string& path, int depth) {
    struct stat info {};
    if (lstat(entry.path().c_str(), &info) != 0) return absl::OkStatus();  // it went away meanwhile
    const auto ignored = rules_.Ignores(path, S_ISDIR(info.st_mode));
    if (!ignored.ok()) return ignored.status();
    if (*ignored) return absl::OkStatus();
    if (S_ISDIR(info.st_mode)) return Read(path, depth + 1);
    SourceFile file;
    file.path = path;
    file.on_disk = entry.path().string();
    if (S_ISLNK(info.st_mode)) {
      std::error_code error;
      file.link = fs::read_symlink(entry.path(), error).string();
      if (absl::Status status = CheckLink(path, file.link); !status.ok()) return status;
    } else if (S_ISREG(info.st_mode)) {
      file.bytes = info.st_size;
      file.executable = (info.st_mode & S_IXUSR) != 0;
    } else {
      tree_.notes.push_back(
          fmt::format("{}: left out, neither a file nor a folder", CleanLine(path)));
      return absl::OkStatus();
    }
    tree_.files.push_back(std::move(file));
    if (tree_.files.size() > kMaxFiles) {
      return absl::InvalidArgumentError(
          fmt::format("{}: more than {} files; leave some out with .gitignore", CleanLine(folder_),
                      FormatCount(kMaxFiles)));
    }
    return absl::OkStatus();
  }

  const std::string& folder_;
  const IgnoreRules& rules_;
  SourceTree& tree_;
};

// HEAD's commit when `folder` is the top of the checkout and nothing differs from it.
std::string CleanCommit(git_repository* repository, const std::string& folder) {
  std::error_code error;
  if (!fs::equivalent(git_repository_workdir(repository), folder, error)) return "";
  git_oid head;
  if (git_reference_name_to_id(&head, repository, "HEAD") != 0) return "";
  git_status_options options;
  git_status_options_init(&options, GIT_STATUS_OPTIONS_VERSION);
  options.flags = GIT_STATUS_OPT_INCLUDE_UNTRACKED;
  git_status_list* changes = nullptr;
  if (git_status_list_new(&changes, repository, &options) != 0) return "";
  const size_t count = git_status_list_entrycount(changes);
  git_status_list_free(changes);
  char hex[GIT_OID_HEXSZ + 1];
  return count == 0 ? git_oid_tostr(hex, sizeof hex, &head) : "";
}

void SortByPath(SourceTree& tree) {
  std::sort(tree.files.begin(), tree.files.end(),
            [](const SourceFile& a, const SourceFile& b) { return a.path < b.path; });
}

// Called by libgit2 for each entry of a commit's tree.
struct TreeWalk {
  git_repository* repository;
  SourceTree* tree;
  absl::Status status;
};

int TakeEntry(const char* root, const git_tree_entry* entry, void* payload) {
  auto& walk = *static_cast<TreeWalk*>(payload);
  if (git_tree_entry_type(entry) == GIT_OBJECT_COMMIT) {
    walk.tree->notes.push_back(fmt::format("{}{}: left out, a submodule", CleanLine(root),
                                           CleanLine(git_tree_entry_name(entry))));
  }
  if (git_tree_entry_type(entry) != GIT_OBJECT_BLOB) return 0;
  SourceFile file;
  file.path = std::string(root) + git_tree_entry_name(entry);
  file.executable = git_tree_entry_filemode(entry) == GIT_FILEMODE_BLOB_EXECUTABLE;
  char hex[GIT_OID_HEXSZ + 1];
  file.blob = git_oid_tostr(hex, sizeof hex, git_tree_entry_id(entry));
  git_blob* blob = nullptr;
  if (git_blob_lookup(&blob, walk.repository, git_tree_entry_id(entry)) != 0) {
    walk.status = absl::InternalError(fmt::format("{}: {}", CleanLine(file.path), GitError()));
    return -1;
  }
  file.bytes = git_blob_rawsize(blob);
  if (git_tree_entry_filemode(entry) == GIT_FILEMODE_LINK) {
    file.link.assign(static_cast<const char*>(git_blob_rawcontent(blob)),
                     static_cast<size_t>(file.bytes));
    file.bytes = 0;
    walk.status = CheckLink(file.path, file.link);
  }
  git_blob_free(blob);
  walk.tree->files.push_back(std::move(file));
  return walk.status.ok() ? 0 : -1;
}

}  // namespace

int64_t SourceTree::bytes() const {
  int64_t sum = 0;
  for (const SourceFile& file : files) sum += file.bytes;
  return sum;
}

absl::StatusOr<SourceTree> ReadFolder(const std::string& folder) {
  InitGit();
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: not a folder; expected the folder that trainyard.yaml lies in", CleanLine(folder)));
  }
  SourceTree tree;
  const std::shared_ptr<git_repository> checkout = OpenCheckout(folder);
  const auto rules = IgnoreRules::Of(folder, checkout);
  if (!rules.ok()) return rules.status();
  if (absl::Status status = FolderReader(folder, *rules, tree).Read("", 0); !status.ok())
    return status;
  SortByPath(tree);
  if (checkout != nullptr) tree.commit = CleanCommit(checkout.get(), folder);
  return tree;
}

absl::StatusOr<SourceTree> ReadOneFile(const std::string& folder, const std::string& name) {
  SourceFile file;
  file.path = name;
  file.on_disk = (fs::path(folder) / name).string();
  struct stat info {};
  if (stat(file.on_disk.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(
        fmt::format("{}: expected a readable file", CleanLine(file.on_disk)));
  }
  file.bytes = info.st_size;
  SourceTree tree;
  tree.files.push_back(std::move(file));
  return tree;
}

absl::StatusOr<SourceTree> ReadRevision(const std::string& folder, const std::string& revision) {
  InitGit();
  git_repository* handle = nullptr;
  if (git_repository_open_ext(&handle, folder.c_str(), GIT_REPOSITORY_OPEN_NO_SEARCH, nullptr) !=
      0) {
    return absl::InvalidArgumentError(
        fmt::format("{}: not a Git repository, so it has no revision {}", CleanLine(folder),
                    CleanLine(revision)));
  }
  SourceTree tree;
  tree.repository = Own(handle, git_repository_free);
  git_object* found = nullptr;
  git_object* peeled = nullptr;
  if (git_revparse_single(&found, handle, revision.c_str()) != 0 ||
      git_object_peel(&peeled, found, GIT_OBJECT_COMMIT) != 0) {
    git_object_free(found);
    return absl::InvalidArgumentError(
        fmt::format("{}: no commit is named {}; expected a branch, tag or commit",
                    CleanLine(folder), CleanLine(revision)));
  }
  const auto commit = Own(peeled, git_object_free);
  git_object_free(found);
  char hex[GIT_OID_HEXSZ + 1];
  tree.commit = git_oid_tostr(hex, sizeof hex, git_object_id(peeled));
  git_tree* top = nullptr;
  if (git_commit_tree(&top, reinterpret_cast<git_commit*>(peeled)) != 0) {
    return absl::InternalError(fmt::format("{}: {}", CleanLine(folder), GitError()));
  }
  const auto root = Own(top, git_tree_free);
  TreeWalk walk{handle, &tree, absl::OkStatus()};
  const int result = git_tree_walk(top, GIT_TREEWALK_PRE, TakeEntry, &walk);
  if (!walk.status.ok()) return walk.status;
  if (result != 0) return absl::InternalError(fmt::format("{}: {}", CleanLine(folder), GitError()));
  SortByPath(tree);
  return tree;
}

absl::Status UseSpec(SourceTree& tree, const std::string& spec) {
  constexpr int64_t kMaxSpecBytes = 1 << 20;
  struct stat info {};
  if (stat(spec.c_str(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > kMaxSpecBytes) {
    return absl::InvalidArgumentError(
        fmt::format("--file: {}: expected a readable file of at most 1 MiB", CleanLine(spec)));
  }
  constexpr const char* kName = "trainyard.yaml";
  tree.files.erase(std::remove_if(tree.files.begin(), tree.files.end(),
                                  [&](const SourceFile& file) { return file.path == kName; }),
                   tree.files.end());
  SourceFile file;
  file.path = kName;
  file.bytes = info.st_size;
  file.on_disk = spec;
  tree.files.push_back(file);
  tree.commit.clear();
  SortByPath(tree);
  return absl::OkStatus();
}

absl::Status CheckSize(const SourceTree& tree, int64_t max_bytes) {
  if (tree.files.empty()) {
    return absl::InvalidArgumentError(
        "the folder has no files, or .gitignore leaves all of them out");
  }
  const int64_t bytes = tree.bytes();
  if (bytes <= max_bytes) return absl::OkStatus();
  std::vector<SourceFile> largest = tree.files;
  const size_t shown = std::min<size_t>(5, largest.size());
  std::partial_sort(largest.begin(), largest.begin() + static_cast<long>(shown), largest.end(),
                    [](const SourceFile& a, const SourceFile& b) { return a.bytes > b.bytes; });
  std::string text =
      fmt::format("the folder has {}, more than the {} that can be uploaded. The largest files:",
                  FormatBytes(bytes), FormatBytes(max_bytes));
  for (size_t i = 0; i < shown; ++i) {
    text += fmt::format("\n  {:>10}  {}", FormatBytes(largest[i].bytes),
                        CleanLine(largest[i].path, 200));
  }
  text += "\nLeave data out with .gitignore, and name it by its path or URL in trainyard.yaml.";
  return absl::InvalidArgumentError(text);
}

}  // namespace trainyard::cli
