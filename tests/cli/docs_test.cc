// docs/cli.md and --help tell the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "cli/text.h"
#include "tests/cli/scripted_server.h"

namespace trainyard::cli {
namespace {

using ::testing::HasSubstr;

std::string Manual() {
  std::ifstream in(TRAINYARD_CLI_DOC);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// The manual's part under "## `trainyard COMMAND`", up to the next heading of that rank.
std::string Section(const std::string& command) {
  const std::string manual = Manual();
  const size_t start = manual.find("## `trainyard " + command);
  if (start == std::string::npos) return "";
  return manual.substr(start, manual.find("\n## ", start + 1) - start);
}

std::string Help(std::vector<std::string> command) {
  command.push_back("--help");
  return RunCli("", command, Style{}).out;
}

std::set<std::string> CommandsIn(const std::string& help) {
  std::set<std::string> commands;
  const size_t start = help.find("Commands:\n");
  if (start == std::string::npos) return commands;
  std::istringstream lines(help.substr(start + 10));
  for (std::string line; std::getline(lines, line) && !line.empty();) {
    std::smatch match;
    if (std::regex_search(line, match, std::regex("^  ([a-z]+) "))) commands.insert(match[1]);
  }
  return commands;
}

std::set<std::string> FlagsIn(const std::string& help) {
  std::set<std::string> flags;
  const std::string options = help.substr(0, help.find("Examples:"));
  const std::regex flag("\n  (?:-[a-z], )?(--?[a-z][a-z-]*)");
  for (std::sregex_iterator at(options.begin(), options.end(), flag), end; at != end; ++at)
    flags.insert((*at)[1]);
  return flags;
}

TEST(DocsTest, EveryCommandAndFlagOfHelpStandsInTheManual) {
  const std::set<std::string> commands = CommandsIn(Help({}));
  EXPECT_EQ(commands.size(), 15u);
  for (const std::string& flag : FlagsIn(Help({}))) EXPECT_THAT(Manual(), HasSubstr("`" + flag));
  size_t flags = 0;
  for (const std::string& command : commands) {
    const std::string section = Section(command);
    EXPECT_NE(section, "") << command << " has no section";
    std::vector<std::vector<std::string>> helps = {{command}};
    for (const std::string& below : CommandsIn(Help({command}))) {
      helps.push_back({command, below});
      EXPECT_THAT(section, HasSubstr("`" + below)) << command;
    }
    for (const auto& path : helps) {
      const std::string help = Help(path);
      EXPECT_THAT(help, HasSubstr("Examples:")) << command;
      for (const std::string& flag : FlagsIn(help)) {
        if (flag == "--help") continue;
        EXPECT_THAT(section, HasSubstr("`" + flag)) << command;
        ++flags;
      }
    }
  }
  EXPECT_GE(flags, 25u) << "the flags were not found in the help";
}

TEST(DocsTest, HelpFitsATerminal) {
  for (const std::string& command : CommandsIn(Help({}))) {
    std::istringstream lines(Help({command}));
    for (std::string line; std::getline(lines, line);) EXPECT_LE(Width(line), 100) << line;
  }
  std::istringstream lines(Help({}));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(Width(line), 100) << line;
}

TEST(DocsTest, TheManualNamesEveryExitCode) {
  for (const char* code : {"| 0 |", "| 1 |", "| 2 |", "| 3 |", "| 4 |", "| 5 |", "| 6 |", "| 7 |",
                           "| 8 |", "| 130 |", "| 143 |"}) {
    EXPECT_THAT(Manual(), HasSubstr(code));
  }
}

}  // namespace
}  // namespace trainyard::cli
