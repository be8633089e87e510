#include "cli/help.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "cli/text.h"

namespace trainyard::cli {
namespace {

constexpr int kNameColumn = 26;
constexpr int kTextColumns = 70;

// "  name    text", the text wrapped under itself.
std::string Entry(const std::string& name, const std::string& text) {
  std::string out;
  const bool fits = Width(name) + 4 <= kNameColumn;
  if (!fits) out += "  " + name + "\n";
  for (const std::string& line : Wrap(text, kTextColumns)) {
    out += out.empty() ? PadRight("  " + name, kNameColumn) : std::string(kNameColumn, ' ');
    out += line + "\n";
  }
  return out;
}

// How many letters have to change, come or go to make `a` of `b`.
size_t Distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::vector<const CLI::App*> CommandsOf(const CLI::App& app) {
  return app.get_subcommands(nullptr);
}

}  // namespace

std::string HelpFormatter::make_usage(const CLI::App* app, std::string name) const {
  std::string usage = "\nUsage: " + name;
  if (!CommandsOf(*app).empty()) return usage + " COMMAND ...\n";
  for (const CLI::Option* option : app->get_options()) {
    if (!option->get_positional()) continue;
    const std::string shown = option->get_name(true, false);
    usage += option->get_required() ? " " + shown : " [" + shown + "]";
  }
  return usage + " [OPTION]...\n";
}

std::string HelpFormatter::make_description(const CLI::App* app) const {
  return app->get_description() + "\n";
}

std::string HelpFormatter::make_option(const CLI::Option* option, bool is_positional) const {
  if (is_positional) return Entry(option->get_name(true, false), option->get_description());
  std::string name = option->get_name(false, true);
  if (const size_t comma = name.find(','); comma != std::string::npos) name.insert(comma + 1, " ");
  // A check appends what it allows to the type; the type says so already.
  const std::string type = option->get_type_name();
  if (option->get_type_size() != 0 && !type.empty()) name += " " + type.substr(0, type.find(':'));
  return Entry(name, option->get_description());
}

std::string HelpFormatter::make_subcommand(const CLI::App* command) const {
  return Entry(command->get_name(), command->get_description());
}

std::string HelpFormatter::make_footer(const CLI::App* app) const {
  std::string footer = app->get_footer();
  while (!footer.empty() && footer.front() == '\n') footer.erase(0, 1);
  if (app->get_parent() != nullptr) {
    footer +=
        "\n\nEvery command takes --coordinator ADDRESS and --output json|table; see `trainyard "
        "--help`.";
  }
  return footer + "\n";
}

std::string CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : CommandsOf(app)) names.push_back(command->get_name());
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string NearestCommand(const CLI::App& app, const std::string& typed) {
  std::string nearest;
  size_t best = 3;  // further away it is something else
  if (typed.size() > 40) return nearest;
  for (const CLI::App* command : CommandsOf(app)) {
    const size_t distance = Distance(typed, command->get_name());
    if (distance >= best) continue;
    best = distance;
    nearest = command->get_name();
  }
  return nearest;
}

}  // namespace trainyard::cli
