#include "coordinator/source/snapshot.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "coordinator/source/tar_header.h"
#include "coordinator/source/text.h"
#include "coordinator/source/yaml_tree.h"

namespace trainyard::coordinator {
namespace {

absl::Status Refuse(std::string_view path, std::string_view message) {
  return absl::InvalidArgumentError(fmt::format("{}: {}", Quoted(path), message));
}

bool IsDotGit(std::string_view part) {
  std::string lower(part);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return lower == ".git";
}

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

std::vector<std::string_view> Parts(std::string_view path) {
  std::vector<std::string_view> parts;
  for (;;) {
    size_t slash = path.find('/');
    parts.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    path.remove_prefix(slash + 1);
  }
}

}  // namespace

absl::Status CheckSnapshotPath(std::string_view path) {
  if (path.empty()) return Refuse(path, "found a file without a name, expected one");
  if (path.size() > kPathBytesMax) {
    return Refuse(path, fmt::format("found a path of {} bytes, expected at most {}", path.size(),
                                    kPathBytesMax));
  }
  if (FindInvalidUtf8(path) != std::string_view::npos || HasControl(path)) {
    return Refuse(path, "found a path with control characters or bytes that are not UTF-8");
  }
  if (path[0] == '/') return Refuse(path, "found an absolute path, expected one inside the tree");
  auto parts = Parts(path);
  if (parts.size() > kPathDepthMax) {
    return Refuse(path, fmt::format("found {} levels of folders, expected at most {}", parts.size(),
                                    kPathDepthMax));
  }
  for (std::string_view part : parts) {
    if (part.empty() || part == "." || part == "..") {
      return Refuse(path, "found an empty part, . or .. in a path, expected names only");
    }
    if (IsDotGit(part)) return Refuse(path, "found a part called .git in a path, expected none");
  }
  return absl::OkStatus();
}

absl::Status CheckSnapshotLink(std::string_view path, std::string_view target) {
  if (target.empty() || target.size() > kPathBytesMax || HasControl(target) ||
      FindInvalidUtf8(target) != std::string_view::npos) {
    return Refuse(path, "found a symbolic link to an empty, too long or unprintable path");
  }
  std::string leads =
      "found a symbolic link to " + Quoted(target) + ", expected one inside the tree";
  if (target[0] == '/') return Refuse(path, leads);
  size_t depth = Parts(path).size() - 1;
  size_t up = 0;
  bool down = false;
  for (std::string_view part : Parts(target)) {
    if (part != "..") {
      down = down || (!part.empty() && part != ".");
      continue;
    }
    // What lies behind `down` may itself be a link, so that its .. could be anywhere.
    if (down || ++up > depth) return Refuse(path, leads);
  }
  return absl::OkStatus();
}

SnapshotWriter::SnapshotWriter(const SnapshotLimits& limits, ByteSink sink)
    : limits_(limits), sink_(std::move(sink)) {}

absl::Status SnapshotWriter::CheckNext(const std::string& path, int64_t size) {
  absl::Status status = CheckSnapshotPath(path);
  if (!status.ok()) return status;
  bool below_file = path.size() > last_path_.size() && path.starts_with(last_path_) &&
                    path[last_path_.size()] == '/' && !last_path_.empty();
  if (path <= last_path_ || below_file) {
    return Refuse(path, "found it twice, or both as a file and as a folder, expected it once");
  }
  if (info_.files >= limits_.files) {
    return Refuse(path, fmt::format("found more than {} files, expected fewer", limits_.files));
  }
  if (size > limits_.file_bytes) {
    return Refuse(path, fmt::format("found a file of {} bytes, expected at most {}", size,
                                    limits_.file_bytes));
  }
  if (size > limits_.total_bytes - info_.bytes) {
    return Refuse(path, fmt::format("found more than {} bytes in all files, expected fewer",
                                    limits_.total_bytes));
  }
  last_path_ = path;
  ++info_.files;
  info_.bytes += size;
  return absl::OkStatus();
}

absl::Status SnapshotWriter::Write(std::string_view bytes) {
  hash_.Add(bytes);
  return sink_(bytes);
}

absl::Status SnapshotWriter::AddFile(const std::string& path, bool executable, int64_t size,
                                     const ByteSource& source) {
  absl::Status status = CheckNext(path, size);
  if (status.ok()) {
    status = Write(TarHeader({.path = path, .size = size, .executable = executable}));
  }
  std::vector<char> buffer(256 << 10);
  for (int64_t left = size; status.ok() && left > 0;) {
    auto got = source(buffer.data(), std::min<int64_t>(left, buffer.size()));
    if (!got.ok()) return got.status();
    if (*got == 0) return absl::DataLossError(Quoted(path) + ": ends before its size");
    status = Write({buffer.data(), *got});
    left -= *got;
  }
  if (status.ok()) status = Write(std::string(TarPadding(size), '\0'));
  return status;
}

absl::Status SnapshotWriter::AddLink(const std::string& path, const std::string& target) {
  absl::Status status = CheckSnapshotLink(path, target);
  if (status.ok()) status = CheckNext(path, 0);
  if (status.ok()) status = Write(TarHeader({.path = path, .link = target}));
  return status;
}

absl::StatusOr<SnapshotInfo> SnapshotWriter::Finish() {
  absl::Status status = Write(std::string(2 * kTarBlock, '\0'));
  if (!status.ok()) return status;
  info_.sha256 = hash_.Hex();
  return info_;
}

}  // namespace trainyard::coordinator
