#include "coordinator/source/detect_hints.h"

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <utility>

namespace trainyard::coordinator {
namespace {

constexpr size_t kLineBytesMax = 2'000;
constexpr size_t kHintsMax = 1'000;

bool OneOf(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string_view BaseName(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string_view Stripped(std::string_view text, std::string_view what = " \t\r") {
  const size_t start = text.find_first_not_of(what);
  if (start == text.npos) return {};
  return text.substr(start, text.find_last_not_of(what) - start + 1);
}

// The words of a line for a shell, without its quotes and signs.
std::vector<std::string> ShellWords(std::string_view line) {
  std::vector<std::string> words;
  for (;;) {
    const size_t start = line.find_first_not_of(" \t\r");
    if (start == line.npos) return words;
    line.remove_prefix(start);
    const size_t end = std::min(line.size(), line.find_first_of(" \t\r"));
    words.emplace_back(Stripped(line.substr(0, end), "\"'`,;&|()[]{}$@*"));
    line.remove_prefix(end);
  }
}

bool IsPython(std::string_view word) {
  word = BaseName(word);
  if (word == "torchrun") return true;
  if (!word.starts_with("python")) return false;
  return word.substr(6).find_first_not_of("0123456789.") == word.npos;
}

bool IsScript(std::string_view word) {
  return word.ends_with(".py") && word.find_first_of("*?<>{}$%\"'") == word.npos;
}

std::string Relative(std::string_view path) {
  while (path.starts_with("./")) path.remove_prefix(2);
  for (const std::string_view root : {"/app/", "/code/", "/workspace/", "/src/", "/usr/src/app/"}) {
    if (path.starts_with(root)) return std::string(path.substr(root.size()));
  }
  return std::string(path);
}

// The name at the beginning of a requirement: "conda-forge::keras>=2.1" -> "keras".
std::string RequirementName(std::string_view text) {
  text = Stripped(text, " \t\r\"',");
  if (const size_t channel = text.find("::"); channel != text.npos) text.remove_prefix(channel + 2);
  size_t end = 0;
  while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) ||
                               OneOf(text.substr(end, 1), {"-", "_", "."}))) {
    ++end;
  }
  return std::string(text.substr(0, end));
}

// One file of hints, line by line.
class HintReader {
 public:
  HintReader(const std::string& path, Hints* hints) : path_(path), hints_(hints) {}

  void Read(std::string_view content) {
    const std::string_view name = BaseName(path_);
    while (!content.empty()) {
      const std::string_view line = content.substr(0, content.find('\n'));
      content.remove_prefix(std::min(content.size(), line.size() + 1));
      ++line_;
      text_ = std::string(Stripped(line.substr(0, kLineBytesMax)));
      if (name.starts_with("requirements")) {
        ReadRequirement();
      } else if (name.starts_with("environment")) {
        if (text_.starts_with("- ")) AddRequirement(std::string_view(text_).substr(2));
      } else if (OneOf(name, {"pyproject.toml", "setup.cfg", "Pipfile"})) {
        ReadPackaging();
      } else if (name.find("ockerfile") != name.npos) {
        ReadDocker();
      } else if (const bool readme = name.starts_with("README"); readme || text_[0] != '#') {
        AddCommand(ShellWords(text_), readme ? kHintReadme : kHintScript);
      }
    }
    if (!entry_point_.text.empty()) AddContainerCommand({});
  }

 private:
  void AddCommand(const std::vector<std::string>& words, int weight) {
    CommandHint hint = ReadCommand(words);
    hint.arguments.clear();  // of one run among many, as like as not
    Add(std::move(hint), weight);
  }

  void Add(CommandHint hint, int weight) {
    if (hint.target.empty() || hints_->commands.size() >= kHintsMax) return;
    hint.file = path_;
    if (hint.line == 0) hint.line = line_;
    if (hint.text.empty()) hint.text = text_;
    hint.weight = weight;
    hints_->commands.push_back(std::move(hint));
  }

  void AddRequirement(std::string_view text) {
    std::string name = RequirementName(text);
    if (name.empty() || hints_->requirements.size() >= kHintsMax) return;
    hints_->requirements.push_back({path_, line_, text_, std::move(name)});
  }

  void ReadRequirement() {
    if (!text_.empty() && text_[0] != '#' && text_[0] != '-') AddRequirement(text_);
  }

  // TOML and INI alike: sections, keys, lists over several lines.
  void ReadPackaging() {
    if (text_.starts_with("[") && text_.find('=') == text_.npos && text_.ends_with("]")) {
      section_ = text_;
      key_.clear();
      return;
    }
    const size_t equals = text_.find('=');
    const std::string_view key = Stripped(std::string_view(text_).substr(0, equals));
    const bool opens =
        equals != text_.npos && OneOf(key, {"dependencies", "install_requires", "console_scripts"});
    if (opens) key_ = key;
    const std::string_view value = equals == text_.npos
                                       ? std::string_view()
                                       : Stripped(std::string_view(text_).substr(equals + 1));
    if (section_.find("scripts") != section_.npos || key_ == "console_scripts") {
      ReadScript(value);
    } else if (OneOf(section_, {"[tool.poetry.dependencies]", "[packages]"})) {
      if (equals != text_.npos) AddRequirement(key);
    } else if (!key_.empty()) {
      ReadList(opens ? value : std::string_view(text_));
    }
    if (!key_.empty() && text_.ends_with("]")) key_.clear();
  }

  void ReadList(std::string_view items) {
    items = Stripped(items, " \t[]");
    while (!items.empty()) {
      const std::string_view item = items.substr(0, items.find(','));
      AddRequirement(item);
      items.remove_prefix(std::min(items.size(), item.size() + 1));
    }
  }

  // "pkg.train:main"
  void ReadScript(std::string_view value) {
    value = Stripped(value, " \t\"',");
    const size_t colon = value.find(':');
    if (colon == value.npos) return;
    Add({.module = true,
         .target = std::string(value.substr(0, colon)),
         .function = RequirementName(value.substr(colon + 1))},
        kHintScript);
  }

  void ReadDocker() {
    const size_t space = std::min(text_.size(), text_.find(' '));
    std::string word = text_.substr(0, space);
    std::transform(word.begin(), word.end(), word.begin(), [](char c) { return std::toupper(c); });
    const std::string rest(Stripped(std::string_view(text_).substr(space)));
    if (word == "FROM") {
      const std::vector<std::string> words = ShellWords(rest);
      if (!words.empty()) hints_->images.push_back({path_, line_, text_, words[0]});
    } else if (word == "RUN") {
      AddCommand(ShellWords(rest), kHintScript);
    } else if (word == "ENTRYPOINT") {
      entry_words_ = ContainerWords(rest);
      entry_point_.line = line_;
      entry_point_.text = text_;
    } else if (word == "CMD") {
      AddContainerCommand(ContainerWords(rest));
    }
  }

  static std::vector<std::string> ContainerWords(const std::string& text) {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    if (!json.is_array()) return {"sh", "-c", text};
    std::vector<std::string> words;
    for (const auto& item : json) {
      if (item.is_string()) words.push_back(item.get<std::string>());
    }
    return words;
  }

  // ENTRYPOINT and what CMD adds to it.
  void AddContainerCommand(const std::vector<std::string>& words) {
    std::vector<std::string> all = std::exchange(entry_words_, {});
    all.insert(all.end(), words.begin(), words.end());
    const bool shell = all.size() >= 3 && all[1] == "-c";
    CommandHint hint = ReadCommand(WithoutShell(all));
    // What a shell would replace is not known here.
    if (shell && all[2].find_first_of("$&|;<>*`'\"\\") != std::string::npos) hint.arguments.clear();
    if (words.empty()) {
      hint.line = entry_point_.line;
      hint.text = entry_point_.text;
    }
    entry_point_ = {};
    Add(std::move(hint), kHintImage);
  }

  const std::string& path_;
  Hints* const hints_;
  int line_ = 0;
  std::string text_;
  std::string section_;
  std::string key_;
  CommandHint entry_point_;
  std::vector<std::string> entry_words_;
};

}  // namespace

bool IsHintFile(std::string_view path) {
  const std::string_view name = BaseName(path);
  const bool yaml = name.ends_with(".yml") || name.ends_with(".yaml");
  return name.starts_with("Dockerfile") || name.ends_with(".dockerfile") ||
         name.starts_with("README") || name.starts_with("Jenkinsfile") || name.ends_with(".sh") ||
         (name.starts_with("requirements") && name.ends_with(".txt")) ||
         (name.starts_with("environment") && yaml) ||
         (path.starts_with(".github/workflows/") && yaml) ||
         OneOf(name, {"Makefile", "makefile", "Procfile", ".gitlab-ci.yml", "pyproject.toml",
                      "setup.cfg", "Pipfile"});
}

void ReadHints(const std::string& path, std::string_view content, Hints* hints) {
  HintReader(path, hints).Read(content);
}

std::vector<std::string> WithoutShell(std::vector<std::string> words) {
  if (words.size() < 3 || words[1] != "-c" || !words[0].ends_with("sh")) return words;
  std::vector<std::string> line = ShellWords(words[2]);
  line.insert(line.end(), words.begin() + 3, words.end());
  return line;
}

CommandHint ReadCommand(const std::vector<std::string>& words) {
  CommandHint hint;
  std::string folder;
  for (size_t i = 0; i < words.size() && hint.target.empty(); ++i) {
    if (words[i] == "cd" && i + 1 < words.size()) folder = Relative(words[i + 1]) + "/";
    const bool direct = words[i].starts_with("./") && IsScript(words[i]);
    if (direct) hint.target = folder + Relative(words[i]);
    if (!direct && !IsPython(words[i])) continue;
    size_t next = direct ? i : i + 1;
    if (!direct) {
      while (next < words.size() && words[next].starts_with("-") && words[next] != "-m" &&
             words[next] != "-c") {
        ++next;
      }
      if (next + 1 < words.size() && words[next] == "-m") {
        hint.module = true;
        hint.target = words[++next];
      } else if (next < words.size() && IsScript(words[next])) {
        hint.target = folder + Relative(words[next]);
      }
    }
    for (++next; next < words.size(); ++next) hint.arguments.push_back(words[next]);
  }
  if (hint.target.empty()) hint.arguments.clear();
  return hint;
}

}  // namespace trainyard::coordinator
