// What the files around the code say: which command starts it, which packages it needs. Dockerfile,
// Makefile, shell scripts, CI files, README, requirements.txt, pyproject.toml and the like.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trainyard::coordinator {

// A command that starts Python, as somebody wrote it.
struct CommandHint {
  std::string file;
  int line = 0;
  std::string text;
  int weight = 0;       // how much it is meant: kHint...
  bool module = false;  // `target` is "pkg.train", else "train.py"
  std::string target;
  std::string function = {};                // of the module, where a package names one to call
  std::vector<std::string> arguments = {};  // after the target, where they are surely meant
};
inline constexpr int kHintReadme = 1;
inline constexpr int kHintScript = 2;
inline constexpr int kHintImage = 3;  // what a container starts

struct RequirementHint {
  std::string file;
  int line = 0;
  std::string text;
  std::string name;  // "scikit-learn"
};

struct Hints {
  std::vector<CommandHint> commands;
  std::vector<RequirementHint> requirements;
  std::vector<RequirementHint> images;  // that Dockerfiles start from
};

inline constexpr size_t kHintBytesMax = 256 << 10;

// Whether a file of this path may hold hints.
bool IsHintFile(std::string_view path);
// Adds what the file says.
void ReadHints(const std::string& path, std::string_view content, Hints* hints);

// The Python program that a command line starts: its target, module and arguments are set, or
// nothing is.
CommandHint ReadCommand(const std::vector<std::string>& words);
// `sh -c LINE` as the words of the line, without quotes and signs; other commands as they are.
std::vector<std::string> WithoutShell(std::vector<std::string> words);

}  // namespace trainyard::coordinator
