#include "cli/parse.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <filesystem>
#include <limits>
#include <regex>
#include <sstream>

#include "cli/text.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;

// As it may stand in a message: harmless, and not endless.
std::string Quote(const std::string& text) { return "\"" + CleanLine(text, 120) + "\""; }

absl::StatusOr<int64_t> ParseNumber(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value <= 0) {
    return absl::InvalidArgumentError(fmt::format("{} is not a whole number above 0", Quote(text)));
  }
  return value;
}

int64_t UnitMs(const std::string& unit) {
  if (unit == "ms") return 1;
  if (unit == "s") return 1000;
  if (unit == "m" || unit == "min") return 60'000;
  if (unit == "h") return 3'600'000;
  return unit == "d" ? 86'400'000 : 0;
}

bool HasControl(const std::string& text) {
  return std::any_of(text.begin(), text.end(),
                     [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

// True for "scheme://..." and for Git's "user@host:path".
bool LooksRemote(const std::string& text) {
  static const std::regex kUrl("(https?|ssh|git|file)://.+");
  static const std::regex kScp("[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+:.+");
  return std::regex_match(text, kUrl) || std::regex_match(text, kScp);
}

// Splits off "@REV" behind the location, not the "@" of "user@host".
std::pair<std::string, std::string> SplitRevision(const std::string& text) {
  const size_t at = text.rfind('@');
  if (at == std::string::npos || at == 0) return {text, ""};
  const size_t scheme = text.find("://");
  if (scheme != std::string::npos) {
    const size_t path = text.find('/', scheme + 3);
    if (path == std::string::npos || at < path) return {text, ""};
  } else if (LooksRemote(text) && text.find(':') > at) {
    return {text, ""};
  }
  return {text.substr(0, at), text.substr(at + 1)};
}

}  // namespace

absl::StatusOr<int64_t> ParseDuration(const std::string& text) {
  static const std::regex kPart("([0-9]{1,15}(?:\\.[0-9]{1,6})?)(ms|s|min|m|h|d)");
  const auto refuse = [&] {
    return absl::InvalidArgumentError(fmt::format(
        "{} is not a duration; expected a number with a unit (ms, s, m, h, d), such as 90s, "
        "2h or 1h30m",
        Quote(text)));
  };
  if (text.empty() || text.size() > 64) return refuse();
  double total = 0;
  auto at = text.cbegin();
  while (at != text.cend()) {
    std::smatch match;
    if (!std::regex_search(at, text.cend(), match, kPart, std::regex_constants::match_continuous)) {
      return refuse();
    }
    total += std::stod(match[1]) * static_cast<double>(UnitMs(match[2]));
    at = match[0].second;
  }
  constexpr double kLongest = 100.0 * 365 * 86'400'000;
  if (total < 1 || total > kLongest) {
    return absl::InvalidArgumentError(
        fmt::format("{} is no usable duration; expected 1ms to 100 years", Quote(text)));
  }
  return static_cast<int64_t>(total);
}

absl::StatusOr<std::vector<std::string>> ParseBudget(const std::string& text) {
  std::vector<std::string> overrides;
  std::stringstream parts(text);
  std::string part;
  while (std::getline(parts, part, ',')) {
    const size_t equals = part.find('=');
    const std::string key = part.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : part.substr(equals + 1);
    absl::Status status;
    if (key == "trials" || key == "epochs") {
      status = ParseNumber(value).status();
    } else if (key == "time") {
      status = ParseDuration(value).status();
    } else {
      status = absl::InvalidArgumentError(fmt::format(
          "{} is unknown; expected trials=N, time=DURATION or epochs=N, separated by commas",
          Quote(part)));
    }
    if (!status.ok()) {
      return absl::InvalidArgumentError(fmt::format("--budget: {}", std::string(status.message())));
    }
    overrides.push_back(fmt::format("budget.{}={}", key, value));
  }
  if (overrides.empty()) {
    return absl::InvalidArgumentError(
        "--budget: empty; expected for example trials=8,time=2h,epochs=30");
  }
  return overrides;
}

absl::Status CheckOverride(const std::string& text) {
  static const std::regex kKey(
      "[A-Za-z_][A-Za-z0-9_-]*(\\[[0-9]{1,6}\\])*(\\.[A-Za-z_][A-Za-z0-9_-]*(\\[[0-9]{1,6}\\])*)*");
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    return absl::InvalidArgumentError(
        fmt::format("--set: {} is not KEY=VALUE; expected for example train.lr=0.05", Quote(text)));
  }
  const std::string key = text.substr(0, equals);
  if (key.size() > 256 || !std::regex_match(key, kKey)) {
    return absl::InvalidArgumentError(fmt::format(
        "--set: {} is not a key of the spec; expected names joined by dots, such as train.lr or "
        "network.layers[0].conv.filters",
        Quote(key)));
  }
  if (text.size() > 65536 || HasControl(text)) {
    return absl::InvalidArgumentError(fmt::format(
        "--set: the value of {} has control characters or is longer than 64 KiB", Quote(key)));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> ParseJob(const std::string& text) {
  auto number = ParseNumber(text);
  if (!number.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("JOB: {} is not a job's number; `trainyard job list` shows them", Quote(text)));
  }
  return number;
}

absl::StatusOr<std::string> ParseAddress(const std::string& text) {
  static const std::regex kHostPort("([A-Za-z0-9_.-]+|\\[[0-9A-Fa-f:.]+\\])(:([0-9]{1,5}))?");
  if (text.rfind("unix:", 0) == 0 && text.size() > 5 && text.size() < 120 && !HasControl(text))
    return text;
  std::smatch match;
  if (text.size() < 300 && std::regex_match(text, match, kHostPort)) {
    if (!match[3].matched) return text + ":7700";
    const int port = std::stoi(match[3]);
    if (port >= 1 && port <= 65535) return text;
  }
  return absl::InvalidArgumentError(
      fmt::format("--coordinator: {} is not an address; expected HOST:PORT such as 127.0.0.1:7700, "
                  "or unix:PATH",
                  Quote(text)));
}

absl::StatusOr<Source> ParseSource(const std::string& text) {
  if (text.empty() || text.size() > 4096 || HasControl(text)) {
    return absl::InvalidArgumentError(fmt::format(
        "{} is neither a path nor a URL: empty, too long or with control characters", Quote(text)));
  }
  std::error_code error;
  const auto absolute = [](const std::string& path) {
    fs::path full = fs::absolute(path).lexically_normal();
    if (!full.has_filename() && full.has_relative_path()) full = full.parent_path();
    return full.string();
  };
  if (fs::exists(text, error)) return Source{Source::Kind::kFolder, absolute(text), ""};
  const auto [location, revision] = SplitRevision(text);
  if (LooksRemote(location)) {
    if (text.back() == '@') {
      return absl::InvalidArgumentError(fmt::format(
          "{} names no revision behind the @; expected a branch, tag or commit", Quote(text)));
    }
    return Source{Source::Kind::kRemote, location, revision};
  }
  if (!revision.empty() && fs::is_directory(location, error)) {
    return Source{Source::Kind::kCheckoutRevision, absolute(location), revision};
  }
  return absl::InvalidArgumentError(fmt::format(
      "{} does not exist, and is no URL; expected a folder, PATH@REV, an https://, ssh:// or "
      "file:// URL, or user@host:path",
      Quote(text)));
}

}  // namespace trainyard::cli
