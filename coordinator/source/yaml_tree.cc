#include "coordinator/source/yaml_tree.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <utility>

#include "coordinator/source/text.h"

namespace trainyard::coordinator {
namespace {

constexpr size_t kDepthMax = 64;
constexpr size_t kNodesMax = 200'000;

Place PlaceOf(const YAML::Mark& mark) { return {mark.line + 1, mark.column + 1}; }

struct Refused {
  YamlProblem problem;
};

// Builds the tree from the parser's events. `open_` holds the sequences and maps not yet closed; a
// map's key is kept until its value is complete.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::vector<YamlProblem>* problems) : problems_(problems) {}

  YamlNode Take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    Leaf({.kind = YamlNode::Kind::kNull, .place = PlaceOf(mark)});
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refused{{PlaceOf(mark),
                   "found an alias (*), expected the value itself: aliases are not "
                   "supported"}};
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& value) override {
    CheckTag(mark, tag);
    bool quoted = tag == "!";  // the parser's word for quoted and block scalars
    Leaf(
        {.kind = YamlNode::Kind::kScalar, .text = value, .quoted = quoted, .place = PlaceOf(mark)});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    CheckTag(mark, tag);
    Open({.kind = YamlNode::Kind::kSequence, .place = PlaceOf(mark)});
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    CheckTag(mark, tag);
    Open({.kind = YamlNode::Kind::kMap, .place = PlaceOf(mark)});
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Frame {
    YamlNode node;
    bool has_key = false;
    YamlEntry entry = {};
  };

  static void CheckTag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    throw Refused{{PlaceOf(mark), "found the tag " + Quoted(tag) + ", expected a plain value"}};
  }

  void Open(YamlNode node) {
    CountNode(node);
    if (open_.size() >= kDepthMax) {
      throw Refused{{node.place,
                     fmt::format("found nesting deeper than {} levels, expected less", kDepthMax)}};
    }
    if (!open_.empty() && open_.back().node.kind == YamlNode::Kind::kMap && !open_.back().has_key) {
      throw Refused{
          {node.place, "found a list or map as a key (is a bracket not closed?), expected a word"}};
    }
    open_.push_back({std::move(node)});
  }
  void Close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    Attach(std::move(node));
  }
  void Leaf(YamlNode node) {
    CountNode(node);
    Attach(std::move(node));
  }
  void CountNode(const YamlNode& node) {
    if (++nodes_ <= kNodesMax) return;
    throw Refused{
        {node.place, fmt::format("found more than {} values, expected fewer", kNodesMax)}};
  }

  void Attach(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& frame = open_.back();
    if (frame.node.kind == YamlNode::Kind::kSequence) {
      frame.node.items.push_back(std::move(node));
    } else if (!frame.has_key) {
      if (node.kind != YamlNode::Kind::kScalar) {
        throw Refused{{node.place, "found a key without a name, expected a word"}};
      }
      frame.entry = {std::move(node.text), node.place, {}};
      frame.has_key = true;
    } else {
      frame.entry.value = std::move(node);
      frame.has_key = false;
      AddEntry(&frame.node, std::move(frame.entry));
    }
  }

  void AddEntry(YamlNode* map, YamlEntry entry) {
    for (const YamlEntry& other : map->entries) {
      if (other.key != entry.key) continue;
      problems_->push_back({entry.place, fmt::format("found {} a second time (first in line {}), "
                                                     "expected it once",
                                                     Quoted(entry.key), other.place.line)});
      return;
    }
    constexpr size_t kKeysMax = 1'000;  // bounds the search above
    if (map->entries.size() >= kKeysMax) {
      throw Refused{{entry.place, fmt::format("found more than {} keys in one map", kKeysMax)}};
    }
    map->entries.push_back(std::move(entry));
  }

  std::vector<YamlProblem>* problems_;
  std::vector<Frame> open_;
  YamlNode root_;
  size_t nodes_ = 0;
};

// A problem with the bytes themselves, before any parsing.
bool CheckBytes(std::string_view text, std::vector<YamlProblem>* problems) {
  if (text.size() > kSpecBytesMax) {
    problems->push_back(
        {{1, 1},
         fmt::format("found a file of {} bytes, expected at most {}", text.size(), kSpecBytesMax)});
    return false;
  }
  size_t bad = FindInvalidUtf8(text);
  if (bad == std::string_view::npos) bad = text.find('\0');
  if (bad == std::string_view::npos) return true;
  Place place{1, 1};
  for (char c : text.substr(0, bad)) {
    place = c == '\n' ? Place{place.line + 1, 1} : Place{place.line, place.column + 1};
  }
  problems->push_back({place, fmt::format("found the byte 0x{:02x}, expected UTF-8 text",
                                          static_cast<unsigned char>(text[bad]))});
  return false;
}

}  // namespace

const YamlNode* YamlNode::Find(std::string_view key) const {
  for (const YamlEntry& entry : entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

YamlNode* YamlNode::Find(std::string_view key) {
  return const_cast<YamlNode*>(std::as_const(*this).Find(key));
}

YamlNode ParseYaml(std::string_view text, std::vector<YamlProblem>* problems) {
  if (!CheckBytes(text, problems)) return {};
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder builder(problems);
    if (!parser.HandleNextDocument(builder)) return {};
    YamlNode root = builder.Take();
    TreeBuilder second(problems);
    if (parser.HandleNextDocument(second)) {
      problems->push_back({second.Take().place, "found a second document, expected one"});
      return {};
    }
    return root;
  } catch (const Refused& refused) {
    *problems = {refused.problem};
  } catch (const YAML::Exception& error) {
    Place place = error.mark.is_null() ? Place{1, 1} : PlaceOf(error.mark);
    *problems = {{place, fmt::format("found something that is not YAML ({}), expected valid YAML",
                                     error.msg)}};
  }
  return {};
}

std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 60;
  std::string out = "\"";
  size_t end = std::min(text.size(), kShown);
  // Not in the middle of a character.
  while (end < text.size() && end > 0 && (text[end] & 0xC0) == 0x80) --end;
  for (size_t i = 0; i < end; ++i) {
    unsigned char c = text[i];
    bool c1 = c == 0xC2 && i + 1 < end && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (c < 0x20 || c == 0x7F || c1) {
      out += fmt::format("\\x{:02x}", c1 ? static_cast<unsigned char>(text[++i]) : c);
    } else {
      out += text[i];
    }
  }
  return out + (end < text.size() ? "...\"" : "\"");
}

std::string Describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "found nothing";
    case YamlNode::Kind::kSequence:
      return "found a list";
    case YamlNode::Kind::kMap:
      return "found a map";
    case YamlNode::Kind::kScalar:
      break;
  }
  bool number = !node.quoted && !node.text.empty() && node.text.size() < 40 &&
                node.text.find_first_not_of("0123456789.eE+-_xXoabcdfABCDF") == std::string::npos &&
                node.text.find_first_of("0123456789") != std::string::npos;
  return "found " + (number ? node.text : Quoted(node.text));
}

}  // namespace trainyard::coordinator
