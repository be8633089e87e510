#include "coordinator/source/spec_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>
#include <utility>

#include "proto/labels.h"

namespace trainyard::coordinator {
namespace {

using Kind = YamlNode::Kind;

constexpr size_t kValueBytesMax = 40;
constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kBytesMax = 65'536 * kGiB;  // of any memory
constexpr int64_t kMB = 1'000'000;
constexpr int64_t kGB = 1'000'000'000;

constexpr std::pair<std::string_view, int64_t> kByteUnits[] = {
    {"GiB", kGiB}, {"GB", kGB}, {"MB", kMB}, {"MiB", kMiB}};

// Takes a number of 0 or more, without sign and exponent, off the front of `text`.
std::optional<double> TakeNumber(std::string_view* text) {
  double value;
  auto [end, error] =
      std::from_chars(text->data(), text->data() + text->size(), value, std::chars_format::fixed);
  bool digit = !text->empty() && std::string_view("0123456789.").find(text->front()) != text->npos;
  if (!digit || error != std::errc() || value > 1e12) return {};
  text->remove_prefix(end - text->data());
  return value;
}

// In milliseconds; more than `most` is `most` + 1.
std::optional<int64_t> ParseDuration(std::string_view text, int64_t most) {
  int64_t total = 0;
  if (text.empty() || text.size() > kValueBytesMax) return {};
  while (!text.empty()) {
    auto value = TakeNumber(&text);
    if (!value || text.empty()) return {};
    constexpr std::pair<char, double> kUnits[] = {
        {'s', 1e3}, {'m', 60e3}, {'h', 3'600e3}, {'d', 86'400e3}};
    auto unit = std::find_if(std::begin(kUnits), std::end(kUnits),
                             [&](const auto& known) { return known.first == text[0]; });
    if (unit == std::end(kUnits)) return {};
    text.remove_prefix(1);
    total += std::llround(std::min(*value * unit->second, static_cast<double>(most) + 1));
  }
  return total;
}

// More than kBytesMax is kBytesMax + 1.
std::optional<int64_t> ParseBytes(std::string_view text) {
  if (text.size() > kValueBytesMax) return {};
  auto value = TakeNumber(&text);
  if (!value) return {};
  for (auto [name, bytes] : kByteUnits) {
    if (text != name) continue;
    double total = *value * static_cast<double>(bytes);
    return std::llround(std::min(total, static_cast<double>(kBytesMax) + 1));
  }
  return {};
}

}  // namespace

bool ReadDuration(const YamlNode& node, const std::string& path, int64_t low_ms, int64_t high_ms,
                  std::string_view range, int64_t* out, SpecProblems* problems) {
  auto duration = node.kind == Kind::kScalar ? ParseDuration(node.text, high_ms) : std::nullopt;
  if (!duration || *duration < low_ms || *duration > high_ms) {
    problems->Add(node.place, path,
                  fmt::format("{}, expected a duration such as 90s, 30m, 2h or 1d12h, {}",
                              Describe(node), range));
    return false;
  }
  *out = *duration;
  return true;
}

bool ReadBytes(const YamlNode& node, const std::string& path, int64_t* out,
               SpecProblems* problems) {
  auto bytes = node.kind == Kind::kScalar ? ParseBytes(node.text) : std::nullopt;
  if (!bytes || *bytes < kMiB || *bytes > kBytesMax) {
    problems->Add(node.place, path,
                  fmt::format("{}, expected a size with its unit (MiB, GiB, MB or GB) such as "
                              "12GiB, from 1MiB to {}GiB",
                              Describe(node), kBytesMax / kGiB));
    return false;
  }
  *out = *bytes;
  return true;
}

bool ReadLabels(const YamlNode& node, const std::string& path,
                std::map<std::string, std::string>* out, SpecProblems* problems) {
  if (node.kind == Kind::kNull) return true;
  if (node.kind != Kind::kMap || node.entries.size() > kLabelsMax) {
    std::string found = node.kind == Kind::kMap
                            ? fmt::format("found {} labels", node.entries.size())
                            : Describe(node);
    problems->Add(node.place, path,
                  fmt::format("{}, expected a map of at most {} labels such as {{site: berlin}}",
                              found, kLabelsMax));
    return false;
  }
  std::map<std::string, std::string> labels;
  size_t wrong = 0;
  for (const YamlEntry& entry : node.entries) {
    if (!IsLabelName(entry.key)) {
      problems->Add(entry.place, path,
                    fmt::format("found {}, expected {}", Quoted(entry.key), kLabelNameForm));
      ++wrong;
    } else if (entry.value.kind != Kind::kScalar || !IsLabelValue(entry.value.text)) {
      problems->Add(entry.value.place, path + "." + entry.key,
                    fmt::format("{}, expected {}", Describe(entry.value), kLabelValueForm));
      ++wrong;
    } else {
      labels[entry.key] = entry.value.text;
    }
  }
  if (wrong > 0) return false;
  *out = std::move(labels);
  return true;
}

bool IsPoolName(std::string_view name) {
  return IsLabelText(name, "-") &&
         std::none_of(name.begin(), name.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

bool ReadPoolName(const YamlNode& node, const std::string& path, std::string* out,
                  SpecProblems* problems) {
  if (node.kind != Kind::kScalar || !IsPoolName(node.text)) {
    problems->Add(node.place, path, fmt::format("{}, expected {}", Describe(node), kPoolNameForm));
    return false;
  }
  *out = node.text;
  return true;
}

std::string WriteBytes(int64_t bytes) {
  for (auto [name, unit] : kByteUnits) {
    if (bytes % unit == 0) return fmt::format("{}{}", bytes / unit, name);
  }
  // A fraction of a power of two is exact.
  return fmt::format("{}MiB", static_cast<double>(bytes) / static_cast<double>(kMiB));
}

}  // namespace trainyard::coordinator
