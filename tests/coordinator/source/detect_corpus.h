// The repositories of detect/: each a folder of files and expected.txt, which says what detection
// makes of it, line by line.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "coordinator/source/detect_files.h"

namespace trainyard::coordinator {

// Files that a test makes up, or reads from a folder, given in an order of its own.
class MadeFiles final : public SourceFiles {
 public:
  MadeFiles() = default;
  explicit MadeFiles(const std::map<std::string, std::string>& files)
      : files_(files.begin(), files.end()) {}

  void Add(std::string path, std::string content) {
    files_.emplace_back(std::move(path), std::move(content));
  }
  // Listed with this size, and never to be read.
  void AddLarge(std::string path, int64_t bytes) { large_[std::move(path)] = bytes; }
  std::vector<std::pair<std::string, std::string>>& files() { return files_; }
  const std::set<std::string>& asked() const { return asked_; }

  absl::Status List(const std::function<void(const std::string&, int64_t)>& visit) const override {
    for (const auto& [path, content] : files_) visit(path, content.size());
    for (const auto& [path, bytes] : large_) visit(path, bytes);
    return absl::OkStatus();
  }
  absl::Status Read(
      const std::set<std::string>& paths,
      const std::function<void(const std::string&, std::string)>& take) const override {
    asked_ = paths;
    for (const auto& [path, content] : files_) {
      if (paths.contains(path)) take(path, content);
    }
    return absl::OkStatus();
  }

 private:
  std::vector<std::pair<std::string, std::string>> files_;
  std::map<std::string, int64_t> large_;
  mutable std::set<std::string> asked_;
};

inline std::string ReadAll(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::filesystem::path CorpusFolder() {
  return std::filesystem::path(TRAINYARD_SOURCE_DIR) / "tests/coordinator/source/detect";
}

inline std::vector<std::string> CorpusCases() {
  std::vector<std::string> cases;
  for (const auto& entry : std::filesystem::directory_iterator(CorpusFolder())) {
    cases.push_back(entry.path().filename());
  }
  std::sort(cases.begin(), cases.end());
  return cases;
}

inline MadeFiles CorpusFiles(const std::string& name) {
  std::map<std::string, std::string> files;
  const std::filesystem::path folder = CorpusFolder() / name;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string path = entry.path().lexically_relative(folder);
    if (entry.is_regular_file() && path != "expected.txt") files[path] = ReadAll(entry.path());
  }
  return MadeFiles(files);
}

}  // namespace trainyard::coordinator
