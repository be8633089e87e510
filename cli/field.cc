#include "cli/field.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <vector>

#include "cli/text.h"

namespace trainyard::cli {
namespace {

using nlohmann::json;

std::string NamesIn(const json& value) {
  std::vector<std::string> names;
  for (const auto& [name, unused] : value.items()) names.push_back(name);
  return fmt::format("{}", fmt::join(names, ", "));
}

// Takes one step from each value.
absl::StatusOr<std::vector<json>> Walk(const std::vector<json>& values, const std::smatch& step,
                                       const std::string& so_far) {
  std::vector<json> next;
  for (const json& value : values) {
    if (step[1].matched) {
      if (!value.is_object() || !value.contains(step.str(1))) {
        return absl::InvalidArgumentError(fmt::format(
            "--field: {} has no {}; {}", so_far.empty() ? "the result" : so_far, step.str(1),
            value.is_object() ? "expected one of " + NamesIn(value) : "it is a single value"));
      }
      next.push_back(value[step.str(1)]);
      continue;
    }
    if (!value.is_array()) {
      return absl::InvalidArgumentError(fmt::format("--field: {} is no list", so_far));
    }
    if (step.str(2).empty()) {
      next.insert(next.end(), value.begin(), value.end());
      continue;
    }
    const size_t index = std::stoul(step.str(2));
    if (index >= value.size()) {
      return absl::InvalidArgumentError(
          fmt::format("--field: {} has {} elements, no [{}]", so_far, value.size(), index));
    }
    next.push_back(value[index]);
  }
  return next;
}

}  // namespace

absl::Status CheckField(const std::string& path) {
  static const std::regex kPath(
      "[A-Za-z_][A-Za-z0-9_]*(\\[[0-9]{0,6}\\])*(\\.[A-Za-z_][A-Za-z0-9_]*(\\[[0-9]{0,6}\\])*)*");
  if (path.size() <= 200 && std::regex_match(path, kPath)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("--field: \"{}\" is not a field; expected names joined by dots, such as state, "
                  "trials[0].best_metric or trials[].restarts",
                  CleanLine(path, 200)));
}

absl::StatusOr<std::string> FieldOf(const std::string& text, const std::string& path) {
  static const std::regex kSteps("([A-Za-z_][A-Za-z0-9_]*)|\\[([0-9]{0,6})\\]");
  std::vector<json> values = {json::parse(text, nullptr, /*allow_exceptions=*/false)};
  for (std::sregex_iterator step(path.begin(), path.end(), kSteps), end; step != end; ++step) {
    std::string so_far = path.substr(0, static_cast<size_t>(step->position()));
    if (so_far.ends_with(".")) so_far.pop_back();
    auto next = Walk(values, *step, so_far);
    if (!next.ok()) return next.status();
    values = *std::move(next);
  }
  std::string out;
  for (const json& value : values) {
    out += (value.is_string() ? CleanLine(value.get<std::string>(), 100'000) : value.dump()) + "\n";
  }
  return out;
}

}  // namespace trainyard::cli
