#include "coordinator/source/spec_override.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace trainyard::coordinator {
namespace {

using Kind = YamlNode::Kind;

constexpr size_t kOverrideBytesMax = 65'536;
constexpr size_t kSegmentsMax = 100;
constexpr std::string_view kSpace = "tune.space.";

// "network.layers[3].conv" -> network, layers, 3, conv; nothing if it is no such path.
std::optional<std::vector<std::string>> SplitPath(std::string_view path) {
  std::vector<std::string> segments;
  if (path.starts_with(kSpace)) {
    // A dimension's path is one key; a whole network to choose from is entered as any other.
    std::string_view key = path.substr(kSpace.size());
    std::string_view last = key.substr(std::min(key.size(), key.rfind('.') + 1));
    const auto& range = SpecSectionNamed("range").keys;
    const bool entered = std::find(range.begin(), range.end(), last) != range.end();
    if (key.empty()) return std::nullopt;
    if (!key.starts_with("network[")) {
      if (entered && last.size() < key.size()) key.remove_suffix(last.size() + 1);
      segments = {"tune", "space", std::string(key)};
      if (entered) segments.emplace_back(last);
      return segments;
    }
  }
  std::string segment;
  bool closed = false;  // just behind a ]
  for (size_t i = 0; i <= path.size(); ++i) {
    char c = i < path.size() ? path[i] : '.';
    if (c == '.' || c == '[') {
      if (segment.empty() && !closed) return std::nullopt;
      if (!segment.empty()) segments.push_back(std::move(segment));
      segment.clear();
      closed = false;
      if (c == '.') continue;
      size_t end = path.find(']', i);
      if (end == std::string_view::npos || end == i + 1) return std::nullopt;
      segments.emplace_back(path.substr(i + 1, end - i - 1));
      i = end;
      closed = true;
    } else {
      if (closed) return std::nullopt;
      segment += c;
    }
  }
  if (segments.size() > kSegmentsMax) return std::nullopt;
  return segments;
}

void SetPlace(YamlNode* node, int index) {
  node->place = {0, 0, index};
  for (YamlNode& item : node->items) SetPlace(&item, index);
  for (YamlEntry& entry : node->entries) {
    entry.place = {0, 0, index};
    SetPlace(&entry.value, index);
  }
}

// The section whose short form may stand under `key`: `validation` of data and of the root differ.
const SpecSection* ShortForm(const std::vector<std::string>& segments, size_t depth) {
  const std::string& key = segments[depth - 1];
  std::string_view name = key;
  if (segments[0] == "data" && depth == 2 &&
      (key == "train" || key == "validation" || key == "test")) {
    name = "set";
  } else if (segments[0] == "data" && depth >= 3) {
    name = "file";
  }
  const auto& sections = SpecSections();
  auto found = std::find_if(sections.begin(), sections.end(),
                            [&](const SpecSection& section) { return section.name == name; });
  return found == sections.end() || found->short_for.empty() ? nullptr : &*found;
}

class Override {
 public:
  Override(int index, std::string path, SpecProblems* problems)
      : index_(index), path_(std::move(path)), problems_(problems) {}

  void Apply(YamlNode* root, YamlNode value) {
    auto segments = SplitPath(path_);
    if (!segments) {
      Problem("found a path that cannot be read, expected one such as train.lr");
      return;
    }
    YamlNode* node = root;
    for (size_t depth = 0; depth < segments->size(); ++depth) {
      node = Enter(node, *segments, depth);
      if (node == nullptr) return;
    }
    *node = std::move(value);
  }

 private:
  // The child of `node` that segment `depth` names, or null after adding a problem.
  YamlNode* Enter(YamlNode* node, const std::vector<std::string>& segments, size_t depth) {
    const std::string& segment = segments[depth];
    if (node->kind == Kind::kSequence && !IsIndex(segment)) {
      const SpecSection* shorter = depth > 0 ? ShortForm(segments, depth) : nullptr;
      if (shorter) SpellOut(node, shorter->short_for);
    }
    if (node->kind == Kind::kSequence) return EnterList(node, segment);
    if (node->kind == Kind::kScalar) {
      const SpecSection* shorter = depth > 0 ? ShortForm(segments, depth) : nullptr;
      if (node->text == segment) {  // `- relu`, written as a word
        YamlNode word = Map();
        word.entries.push_back({segment, Here(), YamlNode{.place = Here()}});
        *node = std::move(word);
      } else if (shorter != nullptr) {
        SpellOut(node, shorter->short_for);
      } else {
        Problem(fmt::format("{} where {} is entered, expected a map", Describe(*node), segment));
        return nullptr;
      }
    }
    if (node->kind == Kind::kNull) *node = Map();
    if (YamlNode* child = node->Find(segment)) return child;
    node->entries.push_back({segment, Here(), YamlNode{.place = Here()}});
    return &node->entries.back().value;
  }

  YamlNode* EnterList(YamlNode* node, const std::string& segment) {
    size_t index = 0;
    auto parsed = std::from_chars(segment.data(), segment.data() + segment.size(), index);
    if (!IsIndex(segment) || parsed.ec != std::errc() || index >= node->items.size()) {
      Problem(fmt::format("found the index {} of a list of {}, expected 0 to {}", Quoted(segment),
                          node->items.size(), std::max<size_t>(node->items.size(), 1) - 1));
      return nullptr;
    }
    return &node->items[index];
  }

  static bool IsIndex(const std::string& segment) {
    return !segment.empty() && segment.find_first_not_of("0123456789") == std::string::npos;
  }

  // 10 -> {units: 10}
  void SpellOut(YamlNode* node, std::string_view key) {
    YamlNode map = Map();
    Place place = node->place;
    map.place = place;
    map.entries.push_back({std::string(key), place, std::move(*node)});
    *node = std::move(map);
  }

  YamlNode Map() const { return {.kind = Kind::kMap, .place = Here()}; }
  Place Here() const { return {0, 0, index_}; }
  void Problem(std::string message) { problems_->Add(Here(), path_, std::move(message)); }

  int index_;
  std::string path_;
  SpecProblems* problems_;
};

}  // namespace

std::string OverrideKey(const std::string& override_text) {
  return override_text.substr(0, override_text.find('='));
}

void ApplyOverrides(const std::vector<std::string>& overrides, YamlNode* root,
                    SpecProblems* problems) {
  for (size_t i = 0; i < overrides.size(); ++i) {
    const std::string& text = overrides[i];
    Place place{0, 0, static_cast<int>(i)};
    std::string path = OverrideKey(text);
    if (path.size() == text.size() || path.empty() || text.size() > kOverrideBytesMax) {
      problems->Add(place, "", "found " + Quoted(text) + ", expected key=value");
      continue;
    }
    std::vector<YamlProblem> wrong;
    YamlNode value = ParseYaml(text.substr(path.size() + 1), &wrong);
    if (!wrong.empty()) {
      problems->Add(place, path, wrong[0].message);
      continue;
    }
    SetPlace(&value, i);
    Override(i, path, problems).Apply(root, std::move(value));
  }
}

}  // namespace trainyard::coordinator
