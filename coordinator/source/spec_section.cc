#include "coordinator/source/spec_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <tuple>

#include "coordinator/source/text.h"

namespace trainyard::coordinator {
namespace {

constexpr size_t kProblemsShown = 20;

bool IsPlain(const YamlNode& node) { return node.kind == YamlNode::Kind::kScalar && !node.quoted; }

// Why a number was not understood, where YAML or other tools would have read it differently.
std::string NumberHint(const YamlNode& node) {
  const std::string& text = node.text;
  if (node.kind != YamlNode::Kind::kScalar || text.empty()) return "";
  if (node.quoted) return " (without quotes)";
  if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("01234567o") == std::string::npos)
    return " (octal is not supported: leave out the leading 0)";
  if (text.starts_with("0x")) return " (hexadecimal is not supported)";
  if (text.find('_') != std::string::npos) return " (without _)";
  if (text[0] == '+') return " (without +)";
  if (text.find(',') != std::string::npos) return " (with a point, not a comma)";
  return "";
}

template <class T>
bool ParseWhole(const std::string& text, T* out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size();
}

bool AllDigits(const std::string& text) {
  size_t sign = text.starts_with("-");
  bool digits = text.size() > sign && text.find_first_not_of("0123456789", sign) == text.npos;
  bool leading_zero = text.size() > sign + 1 && text[sign] == '0';
  return digits && !leading_zero;
}

std::string Line(const SpecProblem& problem, std::string_view file_name,
                 const std::vector<std::string>& override_keys) {
  std::string path = problem.path.empty() ? "" : problem.path + ": ";
  if (problem.place.override_index >= 0) {
    const std::string& key = override_keys[problem.place.override_index];
    return fmt::format("--set {}: {}{}", key, problem.path == key ? "" : path, problem.message);
  }
  int line = std::max(problem.place.line, 1), column = std::max(problem.place.column, 1);
  return fmt::format("{}:{}:{}: {}{}", file_name, line, column, path, problem.message);
}

}  // namespace

bool SpecProblems::Has(const Place& place) const {
  return std::any_of(list_.begin(), list_.end(),
                     [&](const SpecProblem& problem) { return problem.place == place; });
}

std::optional<YamlNode> ParseRoot(std::string_view text, std::string_view expected,
                                  SpecProblems* problems) {
  std::vector<YamlProblem> found;
  YamlNode root = ParseYaml(text, &found);
  for (YamlProblem& problem : found) problems->Add(problem.place, "", std::move(problem.message));
  if (root.kind != YamlNode::Kind::kNull) return root;
  if (found.empty()) {
    problems->Add({1, 1}, "", fmt::format("found an empty file, expected {}", expected));
  }
  return std::nullopt;
}

absl::Status ProblemsError(std::string_view file_name, const std::vector<SpecProblem>& problems,
                           const std::vector<std::string>& override_keys) {
  if (problems.empty()) return absl::OkStatus();
  std::vector<SpecProblem> sorted = problems;
  auto key = [](const SpecProblem& p) {
    return std::tuple(p.place.override_index, p.place.line, p.place.column);
  };
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](const auto& a, const auto& b) { return key(a) < key(b); });
  std::string text;
  for (size_t i = 0; i < std::min(sorted.size(), kProblemsShown); ++i) {
    text += (i > 0 ? "\n" : "") + Line(sorted[i], file_name, override_keys);
  }
  if (sorted.size() > kProblemsShown) {
    text += fmt::format("\n... and {} more", sorted.size() - kProblemsShown);
  }
  return absl::InvalidArgumentError(text);
}

bool ReadInteger(const YamlNode& node, const std::string& path, int64_t low, int64_t high,
                 int64_t* out, SpecProblems* problems) {
  int64_t value;
  bool good = IsPlain(node) && AllDigits(node.text) && ParseWhole(node.text, &value) &&
              value >= low && value <= high;
  if (!good) {
    problems->Add(node.place, path,
                  fmt::format("{}, expected a whole number from {} to {}{}", Describe(node), low,
                              high, NumberHint(node)));
    return false;
  }
  *out = value;
  return true;
}

bool ReadReal(const YamlNode& node, const std::string& path, double* out, SpecProblems* problems) {
  double value = 0;
  bool plain_form = node.text.find_first_not_of("0123456789.eE+-") == std::string::npos;
  bool octal = node.text.size() > 1 && node.text[0] == '0' &&
               node.text.find_first_not_of("0123456789") == std::string::npos;
  bool good = IsPlain(node) && plain_form && !octal && ParseWhole(node.text, &value) &&
              std::isfinite(value);
  if (!good) {
    problems->Add(node.place, path,
                  fmt::format("{}, expected a finite number{}", Describe(node), NumberHint(node)));
    return false;
  }
  *out = value;
  return true;
}

bool ReadBoolean(const YamlNode& node, const std::string& path, bool* out, SpecProblems* problems) {
  if (IsPlain(node) && (node.text == "true" || node.text == "false")) {
    *out = node.text == "true";
    return true;
  }
  problems->Add(node.place, path, Describe(node) + ", expected true or false");
  return false;
}

bool ReadText(const YamlNode& node, const std::string& path, std::string* out,
              SpecProblems* problems) {
  constexpr size_t kTextMax = 4'096;
  if (node.kind != YamlNode::Kind::kScalar || node.text.empty()) {
    problems->Add(node.place, path, Describe(node) + ", expected text");
    return false;
  }
  bool control = std::any_of(node.text.begin(), node.text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
  });
  if (control || node.text.size() > kTextMax) {
    problems->Add(
        node.place, path,
        fmt::format("{}, expected text in one line of at most {} bytes", Describe(node), kTextMax));
    return false;
  }
  *out = node.text;
  return true;
}

int ReadWord(const YamlNode& node, const std::string& path,
             const std::vector<std::string_view>& words, SpecProblems* problems) {
  auto found = std::find(words.begin(), words.end(), node.text);
  if (node.kind == YamlNode::Kind::kScalar && found != words.end()) return found - words.begin();
  problems->Add(node.place, path, Describe(node) + ", expected " + JoinOr(words));
  return -1;
}

Section::Section(const YamlNode* node, std::string path, const SpecSection& keys,
                 SpecProblems* problems)
    : path_(std::move(path)), problems_(problems) {
  if (node == nullptr) return;
  place_ = node->place;
  if (node->kind == YamlNode::Kind::kNull) return;
  if (node->kind != YamlNode::Kind::kMap) {
    problems->Add(place_, path_,
                  Describe(*node) + ", expected a map" +
                      (keys.keys.empty() ? "" : " with " + JoinOr(keys.keys)));
    return;
  }
  node_ = node;
  for (const YamlEntry& entry : node->entries) {
    if (std::find(keys.keys.begin(), keys.keys.end(), entry.key) != keys.keys.end()) continue;
    std::string_view nearest = NearestKey(keys, entry.key);
    std::string expected = keys.keys.empty() ? "nothing" : JoinOr(keys.keys);
    problems->Add(entry.place, path_,
                  fmt::format("found the unknown key {}, {}", Quoted(entry.key),
                              nearest.empty() ? "expected " + expected
                                              : fmt::format("did you mean {}?", nearest)));
  }
}

const YamlNode* Section::Find(std::string_view key) const {
  return node_ == nullptr ? nullptr : node_->Find(key);
}

std::string Section::PathOf(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

void Section::Real(std::string_view key, double* out) const {
  if (const YamlNode* node = Find(key)) ReadReal(*node, PathOf(key), out, problems_);
}

void Section::Boolean(std::string_view key, bool* out) const {
  if (const YamlNode* node = Find(key)) ReadBoolean(*node, PathOf(key), out, problems_);
}

void Section::Text(std::string_view key, std::string* out) const {
  if (const YamlNode* node = Find(key)) ReadText(*node, PathOf(key), out, problems_);
}

void Section::Seed(std::string_view key, uint64_t* out) const {
  const YamlNode* node = Find(key);
  if (node == nullptr) return;
  uint64_t value;
  if (IsPlain(*node) && AllDigits(node->text) && ParseWhole(node->text, &value)) {
    *out = value;
    return;
  }
  problems_->Add(node->place, PathOf(key),
                 fmt::format("{}, expected a whole number from 0 to {}{}", Describe(*node),
                             std::numeric_limits<uint64_t>::max(), NumberHint(*node)));
}

bool Section::Require(std::string_view key, std::string_view what) const {
  if (Find(key) != nullptr) return true;
  // Where the section itself is wrong, that was said already.
  if (!problems_->Has(place_) || node_ != nullptr) {
    problems_->Add(place_, path_, fmt::format("found no {}, expected {}", key, what));
  }
  return false;
}

void Section::Problem(std::string_view key, std::string message) const {
  const YamlNode* node = Find(key);
  problems_->Add(node ? node->place : place_, PathOf(key), std::move(message));
}

}  // namespace trainyard::coordinator
