// YAML as a tree in which every key and value knows where it was written.
//
// Strict where YAML surprises: no aliases (hence no alias bombs), no tags, no duplicate keys, one
// document, UTF-8, limits on size, depth and number of nodes. Scalars stay text: whether `no` is a
// word or a mistaken boolean is for whoever reads it as something.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace trainyard::coordinator {

inline constexpr size_t kSpecBytesMax = 1 << 20;

// Where something was written: a line and column of the file, from 1, or an override from the
// command line by its index.
struct Place {
  int line = 0;
  int column = 0;
  int override_index = -1;  // -1: the file
  bool operator==(const Place&) const = default;
};

struct YamlEntry;

struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  std::string text = {};  // of a scalar
  bool quoted = false;    // 'text' or "text": never a number or boolean
  Place place = {};
  std::vector<YamlNode> items = {};     // of a sequence
  std::vector<YamlEntry> entries = {};  // of a map, in the order written

  const YamlNode* Find(std::string_view key) const;
  YamlNode* Find(std::string_view key);
};

struct YamlEntry {
  std::string key;
  Place place;  // of the key
  YamlNode value;
};

struct YamlProblem {
  Place place;
  std::string message;
};

// Parses one document. A syntax error is the only problem then, and the tree is null; duplicate
// keys are problems beside a tree that keeps the first of each.
YamlNode ParseYaml(std::string_view text, std::vector<YamlProblem>* problems);

// A node for people: `found 12`, `found a list`, `found nothing`. Long or unprintable text is cut
// and escaped.
std::string Describe(const YamlNode& node);

// Text for people: quotes it, cuts after 60 characters, escapes what a terminal would act on.
std::string Quoted(std::string_view text);

}  // namespace trainyard::coordinator
