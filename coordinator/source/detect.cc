#include "coordinator/source/detect.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_replace.h"
#include "coordinator/source/detect_entry.h"
#include "coordinator/source/detect_signs.h"
#include "coordinator/source/yaml_tree.h"
#include "proto/runtimes.h"

namespace trainyard::coordinator {
namespace {

using Code = PythonProgram::Code;

constexpr size_t kShownMax = 10;

std::string Line(const v1::Evidence& evidence) {
  std::string place = EvidenceText(evidence.file());
  if (evidence.line() > 0) place += fmt::format(":{}", evidence.line());
  return fmt::format("{}: {} ({})", place, evidence.text(), evidence.shows());
}

template <typename Hint>
v1::Evidence Of(const Hint& hint, std::string shows) {
  v1::Evidence evidence;
  evidence.set_file(hint.file);
  evidence.set_line(hint.line);
  evidence.set_text(EvidenceText(hint.text));
  evidence.set_shows(std::move(shows));
  return evidence;
}

// A word as a shell and YAML read it back.
std::string ShellWord(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("_-./").find(c) != std::string_view::npos;
  });
  if (plain) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

// What is known of a program once it is clear which one it is.
class Describer {
 public:
  Describer(const LookedAt& looked, const EntryFinder& finder, const v1::Program& said,
            v1::Detection* result)
      : looked_(looked), python_(*looked.program), finder_(finder), said_(said), result_(result) {}

  // `entry` null: only hints tell.
  absl::Status Describe(const Entry* entry) {
    v1::Program& program = *result_->mutable_program();
    program = said_;
    if (entry != nullptr) {
      reached_ = python_.Reach(entry->start, true);
      trainings_ = finder_.TrainingsOf(entry->start);
      ShowEntry(*entry);
    }
    Framework framework = FrameworkOfImports();
    if (framework == Framework::kNone) framework = FrameworkOfHints();
    if (said_.framework().empty()) {
      if (framework == Framework::kNone && said_.command().empty()) {
        return absl::NotFoundError("nothing says which framework it uses");
      }
      program.set_framework(std::string(ProgramFramework(framework)));
    }
    result_->set_runtime(ProgramRuntime(program.framework()));
    if (program.command().empty()) {
      const std::vector<std::string> command = finder_.Command(*entry);
      program.mutable_command()->Assign(command.begin(), command.end());
    }
    ShowUses();
    ShowDevice();
    ShowChanges(entry);
    WarnOfPackages();
    return absl::OkStatus();
  }

 private:
  void Show(v1::Evidence evidence) { *result_->add_evidence() = std::move(evidence); }

  void ShowEntry(const Entry& entry) {
    const std::string& path = python_.path(entry.file);
    if (entry.hint != nullptr && entry.hint->line > 0) {
      Show(Of(*entry.hint, fmt::format("starts {}", EvidenceText(path))));
    }
    if (trainings_.empty()) return;
    const int file = python_.PlaceOf(trainings_[0].code).file;
    const std::string shows = file == entry.file
                                  ? "trains"
                                  : fmt::format("trains, once {} is started", EvidenceText(path));
    Show(looked_.At(python_.path(file), trainings_[0].line, shows));
  }

  // Nearest to the entry first.
  std::vector<int> ReachedFiles() const {
    std::vector<int> files;
    std::set<int> seen;
    for (const Code code : reached_) {
      const int file = python_.PlaceOf(code).file;
      if (seen.insert(file).second) files.push_back(file);
    }
    return files;
  }

  // Keras, then PyTorch, and so on, of those that the program imports; the calls that train decide
  // between two.
  Framework FrameworkOfImports() {
    std::set<Framework> imported;
    for (const int file : ReachedFiles()) {
      for (const auto& [package, line] : python_.Packages(file)) {
        imported.insert(FrameworkOfPackage(package));
      }
    }
    Framework chosen = Framework::kNone;
    for (const Framework framework : {Framework::kKeras, Framework::kTorch, Framework::kOther,
                                      Framework::kSklearn, Framework::kNumpy}) {
      if (chosen == Framework::kNone && imported.contains(framework)) chosen = framework;
    }
    const bool torch_trains = std::any_of(
        trainings_.begin(), trainings_.end(),
        [](const Training& training) { return training.sign.framework == Framework::kTorch; });
    const bool keras_trains =
        std::any_of(trainings_.begin(), trainings_.end(), [](const Training& training) {
          return training.sign.keras_fit || training.sign.framework == Framework::kKeras;
        });
    if (chosen == Framework::kKeras && imported.contains(Framework::kTorch) && !keras_trains &&
        torch_trains) {
      chosen = Framework::kTorch;
    }
    if (chosen == Framework::kNone) return chosen;
    for (const int file : ReachedFiles()) {
      for (const auto& [package, line] : python_.Packages(file)) {
        if (FrameworkOfPackage(package) != chosen) continue;
        Show(looked_.At(python_.path(file), line,
                        fmt::format("imports {} ({})", package, FrameworkTitle(chosen))));
        return chosen;
      }
    }
    return chosen;
  }

  Framework FrameworkOfHints() {
    for (const auto* hints : {&looked_.hints.requirements, &looked_.hints.images}) {
      for (const Framework wanted : {Framework::kKeras, Framework::kTorch, Framework::kOther,
                                     Framework::kSklearn, Framework::kNumpy}) {
        for (const RequirementHint& hint : *hints) {
          if (FrameworkOfRequirement(hint.name) != wanted) continue;
          Show(Of(hint, fmt::format("asks for {}", FrameworkTitle(wanted))));
          return wanted;
        }
      }
    }
    return Framework::kNone;
  }

  // Calls `visit(path, use, meaning)` for all names in code that runs.
  template <typename Visit>
  void ForEachUse(Visit visit) const {
    const std::set<Code> reached(reached_.begin(), reached_.end());
    for (const int file : ReachedFiles()) {
      const std::vector<PythonUse>& uses = python_.file(file).uses;
      for (size_t i = 0; i < uses.size(); ++i) {
        if (!reached.contains(python_.CodeOf(file, uses[i].scope))) continue;
        visit(python_.path(file), uses[i], python_.Meaning(file, i));
      }
    }
  }

  void ShowUses() {
    std::set<std::string> names;
    ForEachUse([&](const std::string& path, const PythonUse& use, const std::string& meaning) {
      if (!result_->program().cnn() && IsConvolution(meaning)) {
        result_->mutable_program()->set_cnn(true);
        Show(looked_.At(path, use.line, fmt::format("convolutions: {}", EvidenceText(meaning))));
      }
      const std::string name = EvidenceText(DataSetOf(use, meaning));
      if (name.empty() || !names.insert(name).second || names.size() > kShownMax) return;
      result_->add_datasets(name);
      Show(looked_.At(path, use.line, fmt::format("loads the data set {}", name)));
    });
  }

  void ShowDevice() {
    bool gpu_asked = false;
    bool cpu_asked = false;
    bool cpu_forced = false;
    ForEachUse([&](const std::string& path, const PythonUse& use, const std::string& meaning) {
      const DeviceSign sign = DeviceOf(use, meaning);
      cpu_asked = cpu_asked || sign == DeviceSign::kCpuAsked;
      if (sign == DeviceSign::kCpuForced && !std::exchange(cpu_forced, true)) {
        Show(looked_.At(path, use.line, "keeps it off GPUs"));
      } else if (sign == DeviceSign::kGpu && !std::exchange(gpu_asked, true)) {
        Show(looked_.At(path, use.line, "asks for a GPU"));
      }
    });
    const v1::Program& program = result_->program();
    const bool wished = gpu_asked || (program.cnn() && !cpu_asked);
    result_->set_gpu(wished && !cpu_forced && program.framework() != "sklearn");
  }

  void ShowChanges(const Entry* entry) {
    v1::Program& program = *result_->mutable_program();
    if (entry == nullptr) return;
    const bool fits = std::any_of(trainings_.begin(), trainings_.end(),
                                  [](const Training& training) { return training.sign.keras_fit; });
    if (fits && program.framework() == "keras") program.set_takes_changes(true);
    for (const int file : ReachedFiles()) {
      const int line = python_.file(file).parameters_line;
      if (line == 0) continue;
      program.set_takes_changes(true);
      Show(looked_.At(python_.path(file), line, "takes changes from outside"));
      return;
    }
  }

  void WarnOfPackages() {
    const std::string& framework = result_->program().framework();
    std::set<std::string> missing;
    const auto warn = [&](const v1::Evidence& where, const std::string& package) {
      if (ImageHas(framework, package) || missing.size() >= kShownMax) return;
      if (!missing.insert(PackageName(package)).second) return;
      result_->add_warnings(fmt::format("{}:{}: {}, which the image program-{} lacks",
                                        EvidenceText(where.file()), where.line(),
                                        EvidenceText(package), framework));
    };
    for (const int file : ReachedFiles()) {
      for (const auto& [package, line] : python_.Packages(file)) {
        warn(looked_.At(python_.path(file), line, ""), package);
      }
    }
    for (const RequirementHint& hint : looked_.hints.requirements) warn(Of(hint, ""), hint.name);
  }

  const LookedAt& looked_;
  const PythonProgram& python_;
  const EntryFinder& finder_;
  const v1::Program& said_;
  v1::Detection* const result_;
  std::vector<Code> reached_;
  std::vector<Training> trainings_;
};

// How to say which program is meant, ready to paste.
std::string HowToSay(std::string command) {
  if (command.find(": ") != command.npos || command.find(" #") != command.npos) {
    command = "'" + absl::StrReplaceAll(command, {{"'", "''"}}) + "'";  // as YAML quotes it
  }
  return fmt::format("Say what to run in trainyard.yaml:\n\nprogram:\n  command: {}", command);
}

std::string CommandText(const std::vector<std::string>& command) {
  std::string text;
  for (const std::string& word : command) text += (text.empty() ? "" : " ") + ShellWord(word);
  return text;
}

class Decider {
 public:
  Decider(const LookedAt& looked, const v1::Program& said)
      : looked_(looked), finder_(looked), said_(said) {}

  absl::StatusOr<v1::Detection> Decide() {
    if (!said_.command().empty()) return DescribeSaid();
    if (finder_.best() == 1) return DescribeEntry(finder_.entries()[0]);
    if (finder_.best() > 1) return absl::InvalidArgumentError(Several());
    if (const auto entry = finder_.Likely()) return DescribeEntry(*entry);
    return absl::InvalidArgumentError(None());
  }

 private:
  // The command is known; the file that it starts tells the rest.
  absl::StatusOr<v1::Detection> DescribeSaid() {
    const std::vector<std::string> words =
        WithoutShell({said_.command().begin(), said_.command().end()});
    const CommandHint hint = ReadCommand(words);
    std::optional<Entry> entry = finder_.Find(hint);
    if (!entry) entry = StartedByScript(words);
    if (entry && entry->hint == &hint) entry->hint = nullptr;
    v1::Detection result;
    const absl::Status status =
        Describer(looked_, finder_, said_, &result).Describe(entry ? &*entry : nullptr);
    if (!status.ok()) return status;
    return Finish(std::move(result));
  }

  // `sh run.sh`: what the script starts.
  std::optional<Entry> StartedByScript(const std::vector<std::string>& words) const {
    for (const std::string& word : words) {
      for (const CommandHint& hint : looked_.hints.commands) {
        if (word != hint.file && word != "./" + hint.file) continue;
        if (auto entry = finder_.Find(hint)) return entry;
      }
    }
    return std::nullopt;
  }

  absl::StatusOr<v1::Detection> DescribeEntry(const Entry& entry) {
    v1::Detection result;
    const absl::Status status = Describer(looked_, finder_, said_, &result).Describe(&entry);
    if (absl::IsNotFound(status)) return absl::InvalidArgumentError(Unknown(entry));
    if (!status.ok()) return status;
    const PythonFile& file = looked_.program->file(entry.file);
    const std::string path = EvidenceText(looked_.program->path(entry.file));
    if (file.python2_line > 0) {
      result.add_warnings(
          fmt::format("{}:{}: is Python 2, the images have Python 3", path, file.python2_line));
    } else if (file.error_line > 0) {
      result.add_warnings(fmt::format("{}:{}: is no valid Python", path, file.error_line));
    }
    return Finish(std::move(result));
  }

  v1::Detection Finish(v1::Detection result) const {
    for (const std::string& warning : looked_.warnings) result.add_warnings(warning);
    return result;
  }

  std::string CommandOf(const Entry& entry) const { return CommandText(finder_.Command(entry)); }

  std::string TrainingLine(const Training& training, std::string_view shows) const {
    const auto place = looked_.program->PlaceOf(training.code);
    return Line(looked_.At(looked_.program->path(place.file), training.line, shows));
  }

  std::string Several() const {
    std::string text = fmt::format("found {} programs that train, expected one:", finder_.best());
    for (size_t i = 0; i < std::min(finder_.best(), kShownMax); ++i) {
      const Entry& entry = finder_.entries()[i];
      const Training training = finder_.TrainingsOf(entry.start).front();
      const bool itself = looked_.program->PlaceOf(training.code).file == entry.file;
      const std::string path = EvidenceText(looked_.program->path(entry.file));
      text += "\n  " + (itself ? "" : path + ": ") + TrainingLine(training, "trains");
    }
    return text + Rest(finder_.best()) + "\n" + HowToSay(CommandOf(finder_.entries()[0]));
  }

  static std::string Rest(size_t count) {
    return count > kShownMax ? fmt::format("\n  and {} more", count - kShownMax) : "";
  }

  std::string Unknown(const Entry& entry) const {
    std::string text =
        "found a program that trains, and nothing that says which framework it uses:";
    const auto trainings = finder_.TrainingsOf(entry.start);
    if (!trainings.empty()) text += "\n  " + TrainingLine(trainings[0], "trains");
    return fmt::format("{}\n{}\n  framework: keras", text, HowToSay(CommandOf(entry)));
  }

  std::string None() const {
    std::string text =
        "found nothing to run, expected trainyard.yaml with a network, or a Python program that "
        "trains; seen:";
    const auto others = finder_.Others();
    for (size_t i = 0; i < std::min(others.size(), kShownMax); ++i) {
      const std::string& path =
          looked_.program->path(looked_.program->PlaceOf(others[i].code).file);
      text += "\n  " + TrainingLine(others[i], IsAside(path)
                                                   ? "trains, but tests, examples and setup do not "
                                                     "count"
                                                   : "trains, but nothing runs it when a file is "
                                                     "started");
    }
    text += Rest(others.size());
    size_t shown = 0;
    for (const RequirementHint& hint : looked_.hints.requirements) {
      if (FrameworkOfRequirement(hint.name) == Framework::kNone || ++shown > kShownMax) continue;
      text += "\n  " + Line(Of(hint, "asks for it"));
    }
    for (const std::string& warning : looked_.warnings) text += "\n  " + warning;
    text += fmt::format("\n  {} Python files, {} notebooks, {} other files", looked_.python_files,
                        looked_.notebooks, looked_.other_files);
    std::string command = "python3 train.py";
    if (!others.empty()) {
      const int file = looked_.program->PlaceOf(others[0].code).file;
      command = CommandOf({.file = file});
    }
    return text + "\n" + HowToSay(command);
  }

  const LookedAt& looked_;
  const EntryFinder finder_;
  const v1::Program& said_;
};

// Whether trainyard.yaml describes a network; then nothing is to be found out.
absl::StatusOr<bool> HasNetwork(const std::string& spec, v1::Detection* result) {
  std::vector<YamlProblem> problems;
  const YamlNode root = ParseYaml(spec, &problems);
  if (!problems.empty()) {
    return absl::InvalidArgumentError(fmt::format("trainyard.yaml:{}:{}: {}",
                                                  problems[0].place.line, problems[0].place.column,
                                                  problems[0].message));
  }
  for (const YamlEntry& entry : root.entries) {
    if (entry.key != "network") continue;
    result->set_runtime("native");
    v1::Evidence& evidence = *result->add_evidence();
    evidence.set_file("trainyard.yaml");
    evidence.set_line(entry.place.line);
    evidence.set_text("network:");
    evidence.set_shows("describes the network");
    result->set_gpu(true);
    return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<v1::Detection> Detect(const SourceFiles& files, const v1::Program& said,
                                     const DetectLimits& limits) {
  const auto looked = LookAt(files, limits);
  if (!looked.ok()) return looked.status();
  if (looked->spec) {
    v1::Detection native;
    const auto has_network = HasNetwork(*looked->spec, &native);
    if (!has_network.ok()) return has_network.status();
    if (*has_network) return native;
  }
  return Decider(*looked, said).Decide();
}

void WarnOfData(v1::Detection* detection) {
  const v1::Program& program = detection->program();
  for (const std::string& name : detection->datasets()) {
    const bool given =
        std::any_of(program.data().begin(), program.data().end(),
                    [&](const v1::ProgramData& data) { return data.name() == name; });
    if (given || program.network()) continue;
    detection->add_warnings(
        fmt::format("it loads {}, which needs the network: give it under program.data, or set "
                    "program.network: true",
                    name));
  }
}

}  // namespace trainyard::coordinator
