#include "coordinator/source/detect_entry.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/source/text.h"

namespace trainyard::coordinator {
namespace {

using Code = PythonProgram::Code;

constexpr size_t kComparedMax = 200;
constexpr int kNamedTrain = 4;

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == path.npos ? "" : path.substr(0, slash);
}

bool StartsWithOneOf(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return text.starts_with(word); });
}

int NameWeight(std::string_view path) {
  std::string name(path.substr(path.rfind('/') + 1));
  name = name.substr(0, name.rfind('.'));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (name == "train") return kNamedTrain;
  if (name == "main" || name == "__main__") return 3;
  if (StartsWithOneOf(name, {"eval", "predict", "infer", "test", "serve", "demo", "plot", "visual",
                             "export", "convert", "debug"})) {
    return -1;
  }
  return name.find("train") != name.npos || name == "run" ? 2 : 0;
}

bool IsPlain(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '/' || c == '.';
  });
}

}  // namespace

EntryFinder::EntryFinder(const LookedAt& looked) : looked_(looked), program_(*looked.program) {
  FindTrainings();
  FindEntries();
  UseHints();
  DropImported();
  Rank();
}

void EntryFinder::FindTrainings() {
  for (int file = 0; file < program_.files(); ++file) {
    const PythonFile& code = program_.file(file);
    bool framework = false;
    for (const auto& [package, line] : program_.Packages(file)) {
      const Framework found = FrameworkOfPackage(package);
      framework = framework || (found != Framework::kNone && found != Framework::kNumpy);
    }
    for (size_t i = 0; i < code.uses.size(); ++i) {
      const PythonUse& use = code.uses[i];
      if (const auto sign = TrainingOf(use, program_.Meaning(file, i))) {
        trainings_.push_back({program_.CodeOf(file, use.scope), use.line, *sign});
      }
    }
    for (const PythonDescent& descent : code.descents) {
      if (framework) break;  // which brings optimizers of its own
      trainings_.push_back(
          {program_.CodeOf(file, descent.scope), descent.line, {Framework::kNumpy}});
    }
  }
  std::stable_sort(trainings_.begin(), trainings_.end(), [](const Training& a, const Training& b) {
    return std::tie(a.code, a.line) < std::tie(b.code, b.line);
  });
  std::vector<Code> codes;
  for (const Training& training : trainings_) codes.push_back(training.code);
  trains_ = program_.Reaching(codes);
}

void EntryFinder::FindEntries() {
  for (int file = 0; file < program_.files(); ++file) {
    if (IsAside(program_.path(file))) continue;
    const std::vector<Code> start = program_.Start(file);
    if (std::none_of(start.begin(), start.end(), [&](Code code) { return trains_[code]; }))
      continue;
    entries_.push_back(
        {.file = file, .start = start, .name_weight = NameWeight(program_.path(file))});
  }
}

std::optional<Entry> EntryFinder::Find(const CommandHint& hint) const {
  int file = -1;
  const std::string folder = FolderOf(hint.file);
  if (hint.module) {
    for (const std::string& from : {std::string(), folder, std::string("src")}) {
      if (file < 0) file = program_.FindModule(from, hint.target);
    }
  } else {
    file = program_.Find(hint.target);
    if (file < 0 && !folder.empty()) file = program_.Find(absl::StrCat(folder, "/", hint.target));
  }
  if (file < 0 && !hint.module && !hint.target.empty()) {
    // People change into a folder first; only one file can be meant then.
    const std::string end = "/" + hint.target;
    for (int other = 0; other < program_.files(); ++other) {
      if (!program_.path(other).ends_with(end)) continue;
      if (file >= 0) return std::nullopt;
      file = other;
    }
  }
  if (file < 0) return std::nullopt;
  return Entry{.file = file, .start = program_.Start(file), .hint = &hint};
}

void EntryFinder::UseHints() {
  for (const CommandHint& hint : looked_.hints.commands) {
    const auto found = Find(hint);
    if (!found) continue;
    const auto entry = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const Entry& e) { return e.file == found->file; });
    if (entry == entries_.end()) {
      if (!hint.function.empty()) AddFunction(hint);
    } else if (std::tuple(-hint.weight, hint.file, hint.line) <
               (entry->hint == nullptr
                    ? std::tuple(0, std::string(), 0)
                    : std::tuple(-entry->hint->weight, entry->hint->file, entry->hint->line))) {
      entry->hint = &hint;
    }
  }
}

// A package that names a function to call: `train = "pkg.train:main"`.
void EntryFinder::AddFunction(const CommandHint& hint) {
  const auto found = Find(hint);
  const int scope = program_.FindScope(found->file, hint.function);
  if (scope < 0 || IsAside(program_.path(found->file))) return;
  const Code code = program_.CodeOf(found->file, scope);
  if (!trains_[code]) return;
  Entry entry = *found;
  entry.start = {program_.CodeOf(found->file, kModuleScope), code};
  entry.function = hint.function;
  entry.name_weight = NameWeight(program_.path(found->file));
  entries_.push_back(std::move(entry));
}

// A file that another entry imports helps it, even if it can be started too, unless its name or a
// hint says that it is the one.
void EntryFinder::DropImported() {
  if (entries_.size() > kComparedMax) return;
  std::vector<std::vector<bool>> files;
  for (const Entry& entry : entries_) {
    std::vector<bool> reached(program_.files());
    for (const Code code : program_.Reach(entry.start, false)) {
      reached[program_.PlaceOf(code).file] = true;
    }
    files.push_back(std::move(reached));
  }
  std::vector<Entry> kept;
  for (size_t a = 0; a < entries_.size(); ++a) {
    bool helps = false;
    for (size_t b = 0; b < entries_.size() && !helps; ++b) {
      const Entry& other = entries_[b];
      helps = a != b && files[b][entries_[a].file] && !files[a][other.file] &&
              other.name_weight >= std::max(0, entries_[a].name_weight) &&
              other.hint_weight() >= entries_[a].hint_weight() &&
              !looked_.IsNotebook(program_.path(other.file));
    }
    if (!helps) kept.push_back(entries_[a]);
  }
  entries_ = std::move(kept);
}

void EntryFinder::Rank() {
  const auto rank = [&](const Entry& entry) {
    const std::string& path = program_.path(entry.file);
    // Between files of the same telling name, the one at the top is meant.
    const bool top = entry.name_weight > 0 && path.find('/') == path.npos;
    return std::tuple(-entry.hint_weight(), -entry.name_weight, looked_.IsNotebook(path), !top);
  };
  std::stable_sort(entries_.begin(), entries_.end(),
                   [&](const Entry& a, const Entry& b) { return rank(a) < rank(b); });
  best_ = std::count_if(entries_.begin(), entries_.end(),
                        [&](const Entry& entry) { return rank(entry) == rank(entries_[0]); });
}

bool EntryFinder::UsesFramework(const Entry& entry) const {
  for (const Code code : program_.Reach(entry.start, true)) {
    for (const auto& [package, line] : program_.Packages(program_.PlaceOf(code).file)) {
      const Framework framework = FrameworkOfPackage(package);
      if (framework != Framework::kNone && framework != Framework::kNumpy) return true;
    }
  }
  return false;
}

std::optional<Entry> EntryFinder::Likely() const {
  std::map<int, Entry> likely;
  for (int file = 0; file < program_.files(); ++file) {
    const int weight = NameWeight(program_.path(file));
    if (weight <= 0 || IsAside(program_.path(file))) continue;
    likely[file] = {.file = file, .start = program_.Start(file), .name_weight = weight};
  }
  for (const CommandHint& hint : looked_.hints.commands) {
    const auto found = Find(hint);
    const auto entry = found ? likely.find(found->file) : likely.end();
    if (entry != likely.end() && hint.weight > entry->second.hint_weight()) {
      entry->second.hint = &hint;
    }
  }
  std::erase_if(likely, [](const auto& item) {
    return item.second.hint_weight() < kHintScript && item.second.name_weight < kNamedTrain;
  });
  if (likely.size() != 1 || !UsesFramework(likely.begin()->second)) return std::nullopt;
  return likely.begin()->second;
}

std::vector<Training> EntryFinder::TrainingsOf(const std::vector<Code>& start) const {
  std::vector<Training> found;
  for (const Code code : program_.Reach(start, false)) {
    const auto first = std::lower_bound(
        trainings_.begin(), trainings_.end(), code,
        [](const Training& training, Code wanted) { return training.code < wanted; });
    for (auto it = first; it != trainings_.end() && it->code == code; ++it) found.push_back(*it);
  }
  return found;
}

std::vector<Training> EntryFinder::Others() const {
  std::vector<Training> others;
  for (const Training& training : trainings_) {
    if (others.empty() ||
        program_.PlaceOf(others.back().code).file != program_.PlaceOf(training.code).file) {
      others.push_back(training);
    }
  }
  return others;
}

std::vector<std::string> EntryFinder::Command(const Entry& entry) const {
  const std::string& path = program_.path(entry.file);
  if (looked_.IsNotebook(path)) return {"python3", "-m", "trainyard_program.notebook", path};
  std::optional<std::string> folder = program_.ImportFolder(entry.file);
  if (!entry.function.empty() && !folder) {
    folder = entry.hint->target.size() < path.size() && path.starts_with("src/") ? "src" : "";
  }
  std::vector<std::string> command = {"python3", path.starts_with('-') ? "./" + path : path};
  const std::string prefix = folder && !folder->empty() ? *folder + "/" : "";
  if (folder && path.starts_with(prefix) && IsPlain(path)) {
    std::string module = path.substr(prefix.size(), path.size() - prefix.size() - 3);
    if (module.ends_with("/__main__")) module.resize(module.size() - 9);
    std::replace(module.begin(), module.end(), '/', '.');
    const bool inside = path.find('/', prefix.size()) != path.npos;
    if (!entry.function.empty()) {
      command = {"python3", "-c",
                 absl::StrCat("import sys; from ", module, " import ", entry.function,
                              "; sys.exit(", entry.function, "())")};
    } else if (inside) {
      command = {"python3", "-m", module};
    }
  }
  const auto is_text = [](const std::string& word) { return FindInvalidUtf8(word) == word.npos; };
  if (entry.hint != nullptr &&
      std::all_of(entry.hint->arguments.begin(), entry.hint->arguments.end(), is_text)) {
    command.insert(command.end(), entry.hint->arguments.begin(), entry.hint->arguments.end());
  }
  if (prefix.empty() || !IsPlain(prefix)) return command;
  // Python looks there too; what else stands in PYTHONPATH stays.
  std::vector<std::string> shell = {
      "sh", "-c", absl::StrCat("PYTHONPATH=", *folder, ":$PYTHONPATH exec \"$@\""), "sh"};
  shell.insert(shell.end(), command.begin(), command.end());
  return shell;
}

}  // namespace trainyard::coordinator
