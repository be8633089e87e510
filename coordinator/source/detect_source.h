// Reads of a repository what detection needs, within bounds: which files there are, the Python
// among them, hints around it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/source/detect_files.h"
#include "coordinator/source/detect_hints.h"
#include "coordinator/source/notebook.h"
#include "coordinator/source/python_program.h"
#include "trainyard/v1/resources.pb.h"

namespace trainyard::coordinator {

// What is looked at, at most. Whatever lies near the top of the repository goes first.
struct DetectLimits {
  int64_t python_files = 2'000;
  int64_t python_bytes = 4 << 20;
  int64_t notebooks = 100;
  int64_t notebook_bytes = 32 << 20;  // of each, outputs included
  int64_t hint_files = 200;
  // Of computing.
  std::chrono::milliseconds parse_file{2'000};
  std::chrono::milliseconds parse_all{10'000};
};

struct LookedAt {
  std::unique_ptr<PythonProgram> program;
  Hints hints;
  std::optional<std::string> spec;  // trainyard.yaml
  int64_t python_files = 0;         // that there are
  int64_t notebooks = 0;
  int64_t other_files = 0;
  std::vector<std::string> warnings;  // what was not looked at, and why

  // The line of a file, and what it shows.
  v1::Evidence At(const std::string& file, int line, std::string_view shows) const;
  bool IsNotebook(const std::string& path) const { return notebooks_by_path.contains(path); }

  std::map<std::string, std::string> texts;  // of Python files and notebooks
  std::map<std::string, NotebookCode> notebooks_by_path;
};

// Files that are no programs of their own by where they lie: tests, examples, documentation, setup.
bool IsAside(std::string_view path);

absl::StatusOr<LookedAt> LookAt(const SourceFiles& files, const DetectLimits& limits);

// Text from a file as evidence shows it: one line, valid UTF-8, not too long.
std::string EvidenceText(std::string_view text);

}  // namespace trainyard::coordinator
