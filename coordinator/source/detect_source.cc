#include "coordinator/source/detect_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "coordinator/source/detect_signs.h"
#include "coordinator/source/text.h"
#include "coordinator/source/yaml_tree.h"

namespace trainyard::coordinator {
namespace {

constexpr char kSpecFile[] = "trainyard.yaml";
constexpr size_t kEvidenceBytesMax = 160;

std::string_view BaseName(std::string_view path) { return path.substr(path.rfind('/') + 1); }

template <typename Test>
bool AnyFolder(std::string_view path, Test test) {
  for (size_t slash = path.find('/'); slash != path.npos; slash = path.find('/')) {
    if (test(path.substr(0, slash))) return true;
    path.remove_prefix(slash + 1);
  }
  return false;
}

// Folders with what others wrote or a program made.
bool IsForeign(std::string_view path) {
  static const std::set<std::string_view> kFolders = {
      "venv",          ".venv",         "virtualenv",  "node_modules",
      "site-packages", "dist-packages", "__pycache__", ".ipynb_checkpoints",
      ".tox",          ".eggs",         ".git",        "build",
      "dist"};
  return AnyFolder(path, [](std::string_view folder) {
    return kFolders.contains(folder) || folder.ends_with(".egg-info");
  });
}

struct Found {
  // What lies near the top comes first, and what is a program's before what is aside.
  bool aside = false;
  int64_t depth = 0;
  std::string path;
  int64_t bytes = 0;
  auto operator<=>(const Found&) const = default;
};

// The first `most` of all that were added, in whatever order.
class First {
 public:
  explicit First(int64_t most) : most_(most) {}
  void Add(const std::string& path, int64_t bytes) {
    ++seen_;
    found_.insert({IsAside(path), std::count(path.begin(), path.end(), '/'), path, bytes});
    if (static_cast<int64_t>(found_.size()) > most_) found_.erase(std::prev(found_.end()));
  }
  const std::set<Found>& found() const { return found_; }
  int64_t seen() const { return seen_; }

 private:
  const int64_t most_;
  int64_t seen_ = 0;
  std::set<Found> found_;
};

class Looker {
 public:
  Looker(const SourceFiles& files, const DetectLimits& limits)
      : files_(files),
        limits_(limits),
        python_(limits.python_files),
        notebooks_(limits.notebooks),
        hints_(limits.hint_files),
        end_(ThreadCpuTime() + limits.parse_all) {}

  absl::StatusOr<LookedAt> Look() {
    absl::Status status =
        files_.List([this](const std::string& path, int64_t bytes) { Sort(path, bytes); });
    if (!status.ok()) return status;
    looked_.python_files = python_.seen();
    looked_.notebooks = notebooks_.seen();
    status = files_.Read(Choose(), [this](const std::string& path, std::string content) {
      Take(path, std::move(content));
    });
    if (!status.ok()) return status;
    Warn();
    looked_.program = std::make_unique<PythonProgram>(
        std::move(parsed_),
        [](std::string_view package) { return FrameworkOfPackage(package) != Framework::kNone; });
    return std::move(looked_);
  }

 private:
  void Sort(const std::string& path, int64_t bytes) {
    if (IsForeign(path)) return;
    if (path == kSpecFile) has_spec_ = bytes <= static_cast<int64_t>(kSpecBytesMax);
    if (path.ends_with("/pyvenv.cfg")) {  // a virtual environment under a name of its own
      if (environments_.size() < 100) environments_.insert(path.substr(0, path.rfind('/') + 1));
    } else if (path.ends_with(".py")) {
      python_.Add(path, bytes);
    } else if (path.ends_with(".ipynb")) {
      notebooks_.Add(path, bytes);
    } else if (IsHintFile(path) && !IsAside(path) && bytes <= static_cast<int64_t>(kHintBytesMax)) {
      hints_.Add(path, bytes);
    } else {
      ++looked_.other_files;
    }
  }

  bool InEnvironment(const std::string& path) const {
    return std::any_of(environments_.begin(), environments_.end(),
                       [&](const std::string& folder) { return path.starts_with(folder); });
  }

  std::set<std::string> Choose() {
    std::set<std::string> paths;
    if (has_spec_) paths.insert(kSpecFile);
    int64_t bytes = 0;
    for (const Found& file : python_.found()) {
      if (InEnvironment(file.path)) continue;
      if (file.bytes > static_cast<int64_t>(kPythonBytesMax)) {
        NotRead(file.path, fmt::format("{} bytes, more than the {} of Python that are read",
                                       file.bytes, kPythonBytesMax));
      } else if (bytes + file.bytes <= limits_.python_bytes) {
        bytes += file.bytes;
        paths.insert(file.path);
      } else {
        ++over_budget_;
      }
    }
    for (const Found& file : notebooks_.found()) {
      if (InEnvironment(file.path)) continue;
      if (file.bytes <= limits_.notebook_bytes) {
        paths.insert(file.path);
      } else {
        NotRead(file.path, fmt::format("{} bytes, more than the {} of a notebook that are read: "
                                       "clear its outputs",
                                       file.bytes, limits_.notebook_bytes));
      }
    }
    for (const Found& file : hints_.found()) paths.insert(file.path);
    return paths;
  }

  void Take(const std::string& path, std::string content) {
    if (path == kSpecFile) {
      looked_.spec = std::move(content);
    } else if (path.ends_with(".ipynb")) {
      TakeNotebook(path, content);
    } else if (path.ends_with(".py")) {
      Parse(path, std::move(content));
    } else if (content.find('\0') == content.npos) {
      ReadHints(path, content, &looked_.hints);
    }
  }

  void TakeNotebook(const std::string& path, const std::string& content) {
    auto code = ReadNotebook(content, kPythonBytesMax);
    if (!code.ok()) return NotRead(path, std::string(code.status().message()));
    std::string python = std::move(code->python);
    looked_.notebooks_by_path[path] = *std::move(code);
    Parse(path, std::move(python));
  }

  void Parse(const std::string& path, std::string text) {
    if (text.find('\0') != text.npos) return NotRead(path, "no text");
    if (text.size() > kPythonBytesMax + (64 << 10)) return NotRead(path, "too much code");
    const auto limit =
        std::min<std::chrono::microseconds>(limits_.parse_file, end_ - ThreadCpuTime());
    PythonFile file;
    if (limit.count() <= 0 || !ParsePython(text, limit, &file)) {
      return NotRead(path, "not readable as Python within the time there is");
    }
    parsed_[path] = std::move(file);
    looked_.texts[path] = std::move(text);
  }

  void NotRead(const std::string& path, const std::string& why) {
    if (!IsAside(path)) not_read_.emplace(path, why);
  }

  void Warn() {
    constexpr size_t kShown = 5;
    size_t shown = 0;
    for (const auto& [path, why] : not_read_) {
      if (++shown > kShown) break;
      looked_.warnings.push_back(fmt::format("{} was not looked at: {}", EvidenceText(path), why));
    }
    if (not_read_.size() > kShown) {
      looked_.warnings.push_back(
          fmt::format("{} more files were not looked at", not_read_.size() - kShown));
    }
    const int64_t left_out =
        over_budget_ + python_.seen() - static_cast<int64_t>(python_.found().size());
    if (left_out > 0) {
      looked_.warnings.push_back(
          fmt::format("{} of {} Python files were not looked at: those furthest from the top",
                      left_out, python_.seen()));
    }
    const int64_t notebooks = notebooks_.seen() - static_cast<int64_t>(notebooks_.found().size());
    if (notebooks > 0) {
      looked_.warnings.push_back(
          fmt::format("{} of {} notebooks were not looked at", notebooks, notebooks_.seen()));
    }
  }

  const SourceFiles& files_;
  const DetectLimits limits_;
  First python_;
  First notebooks_;
  First hints_;
  const std::chrono::microseconds end_;
  LookedAt looked_;
  std::map<std::string, PythonFile> parsed_;
  std::map<std::string, std::string> not_read_;
  std::set<std::string> environments_;
  int64_t over_budget_ = 0;
  bool has_spec_ = false;
};

}  // namespace

bool IsAside(std::string_view path) {
  static const std::set<std::string_view> kFolders = {
      "test", "tests",   "testing",     "example", "examples",  "doc",
      "docs", "samples", "third_party", "vendor",  "benchmarks"};
  static const std::set<std::string_view> kNames = {"setup.py", "conftest.py", "conf.py",
                                                    "noxfile.py", "versioneer.py"};
  const std::string_view name = BaseName(path);
  return kNames.contains(name) || name.starts_with("test_") || name.ends_with("_test.py") ||
         AnyFolder(path, [](std::string_view folder) { return kFolders.contains(folder); });
}

std::string EvidenceText(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t");
  if (start != text.npos) text.remove_prefix(start);
  std::string line(text.substr(0, kEvidenceBytesMax));
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
  for (size_t bad = FindInvalidUtf8(line); bad != line.npos; bad = FindInvalidUtf8(line)) {
    line[bad] = '?';
  }
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return line;
}

v1::Evidence LookedAt::At(const std::string& file, int line, std::string_view shows) const {
  v1::Evidence evidence;
  evidence.set_file(file);
  evidence.set_line(line);
  evidence.set_shows(std::string(shows));
  const auto text = texts.find(file);
  if (text == texts.end()) return evidence;
  size_t start = 0;
  for (int i = 1; i < line && start != std::string::npos; ++i) {
    start = text->second.find('\n', start);
    if (start != std::string::npos) ++start;
  }
  if (start == std::string::npos) return evidence;
  const std::string_view rest = std::string_view(text->second).substr(start);
  std::string shown = EvidenceText(rest.substr(0, rest.find('\n')));
  if (const auto notebook = notebooks_by_path.find(file); notebook != notebooks_by_path.end()) {
    const NotebookCode::Cell cell = notebook->second.CellOf(line);
    evidence.set_line(line - cell.first_line + 1);
    shown = fmt::format("cell {}: {}", cell.number, shown);
  }
  evidence.set_text(shown);
  return evidence;
}

absl::StatusOr<LookedAt> LookAt(const SourceFiles& files, const DetectLimits& limits) {
  return Looker(files, limits).Look();
}

}  // namespace trainyard::coordinator
