#include "worker/program/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/agent/owned_file.h"

namespace trainyard::program {
namespace {

namespace fs = std::filesystem;

constexpr int kDepthMax = 64;
constexpr int64_t kFilesMax = 200'000;

struct CloseFolder {
  void operator()(DIR* folder) const { closedir(folder); }
};

// Sorted; takes a handle of its own.
std::vector<std::string> NamesIn(int folder) {
  std::vector<std::string> names;
  const int own = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, CloseFolder> stream(own < 0 ? nullptr : fdopendir(own));
  if (stream == nullptr) return names;
  while (const dirent* entry = readdir(stream.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    if (names.size() > kFilesMax) break;
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status Walk(int folder, const std::string& prefix, int depth, int64_t& count,
                  const Visit& visit) {
  for (const std::string& name : NamesIn(folder)) {
    // Not blocking: it may be a pipe that nobody writes to.
    const agent::OwnedFile file(
        openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    struct stat info {};
    if (file.handle() < 0 || fstat(file.handle(), &info) != 0) continue;
    if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) continue;
    const std::string path = prefix + name;
    if (++count > kFilesMax || depth > kDepthMax) {
      return absl::InvalidArgumentError(absl::StrCat("\"", path, "\": more than ", kFilesMax,
                                                     " files, or deeper than ", kDepthMax,
                                                     " folders"));
    }
    if (auto status = visit(path, file.handle(), info); !status.ok()) return status;
    if (!S_ISDIR(info.st_mode)) continue;
    if (auto status = Walk(file.handle(), path + "/", depth + 1, count, visit); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WalkTree(const std::string& folder, const Visit& visit) {
  const agent::OwnedFile root(
      open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (root.handle() < 0) {
    return absl::UnavailableError(absl::StrCat(folder, ": ", strerror(errno)));
  }
  int64_t count = 0;
  return Walk(root.handle(), "", 0, count, visit);
}

absl::StatusOr<std::string> ReadFileInside(const std::string& folder, const std::string& name,
                                           size_t most) {
  const std::string path = absl::StrCat(folder, "/", name);
  const agent::OwnedFile file(
      open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat info {};
  if (file.handle() < 0 || fstat(file.handle(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::NotFoundError(absl::StrCat(path, ": there is no such file"));
  }
  std::string content(std::min<size_t>(most, static_cast<size_t>(info.st_size)), '\0');
  const ssize_t size = pread(file.handle(), content.data(), content.size(), 0);
  if (size < 0) return absl::UnavailableError(absl::StrCat(path, ": ", strerror(errno)));
  content.resize(static_cast<size_t>(size));
  return content;
}

Stamp StampOf(const struct stat& info) {
  return {info.st_size, info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec, info.st_ino};
}

Stamps StampFiles(const std::string& folder) {
  Stamps stamps;
  const absl::Status ignored =
      WalkTree(folder, [&](const std::string& path, int, const struct stat& info) {
        if (S_ISREG(info.st_mode)) stamps[path] = StampOf(info);
        return absl::OkStatus();
      });
  return stamps;
}

void RemoveTree(const std::string& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (!error) return;
  // Folders without rights: each is given back before the walk enters it.
  fs::permissions(folder, fs::perms::owner_all, fs::perm_options::add, error);
  for (auto entry = fs::recursive_directory_iterator(
           folder, fs::directory_options::skip_permission_denied, error);
       entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (!entry->is_symlink(error) && entry->is_directory(error)) {
      fs::permissions(entry->path(), fs::perms::owner_all, fs::perm_options::add, error);
    }
  }
  fs::remove_all(folder, error);
}

}  // namespace trainyard::program
