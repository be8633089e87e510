// What the tests share that hold a file's documentation and schema to its reader.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/source/spec_keys.h"
#include "coordinator/source/yaml_tree.h"
#include "tests/coordinator/source/schema_check.h"

namespace trainyard::coordinator {

inline std::string RepositoryFile(const std::string& path) {
  std::ifstream file(std::string(TRAINYARD_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(file) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::vector<std::string> YamlBlocks(const std::string& manual) {
  std::vector<std::string> blocks;
  std::istringstream lines(manual);
  std::string line, block;
  bool inside = false;
  while (std::getline(lines, line)) {
    if (line == "```yaml") {
      inside = true;
    } else if (line == "```" && inside) {
      inside = false;
      blocks.push_back(std::exchange(block, ""));
    } else if (inside) {
      block += line + "\n";
    }
  }
  return blocks;
}

inline nlohmann::json ToJson(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return nullptr;
    case YamlNode::Kind::kMap: {
      nlohmann::json map = nlohmann::json::object();
      for (const YamlEntry& entry : node.entries) map[entry.key] = ToJson(entry.value);
      return map;
    }
    case YamlNode::Kind::kSequence: {
      nlohmann::json list = nlohmann::json::array();
      for (const YamlNode& item : node.items) list.push_back(ToJson(item));
      return list;
    }
    case YamlNode::Kind::kScalar:
      break;
  }
  if (node.quoted) return node.text;
  nlohmann::json value = nlohmann::json::parse(node.text, nullptr, /*allow_exceptions=*/false);
  return value.is_number() || value.is_boolean() ? value : nlohmann::json(node.text);
}

inline nlohmann::json ToJson(const std::string& yaml) {
  std::vector<YamlProblem> problems;
  YamlNode node = ParseYaml(yaml, &problems);
  EXPECT_TRUE(problems.empty()) << yaml;
  return ToJson(node);
}

// Calls visit(path) for every key of the tree, as --set writes it.
template <class Visit>
void ForEachKey(const YamlNode& node, const std::string& path, const Visit& visit) {
  for (const YamlEntry& entry : node.entries) {
    std::string here = path.empty() ? entry.key : path + "." + entry.key;
    visit(here, entry.key);
    ForEachKey(entry.value, here, visit);
  }
  for (size_t i = 0; i < node.items.size(); ++i) {
    ForEachKey(node.items[i], path + "[" + std::to_string(i) + "]", visit);
  }
}

// `file` with a map that nothing takes where `path` points, such as data.train[0]. A key may have
// dots and indices itself, such as those of tune.space.
inline nlohmann::json Spoiled(nlohmann::json file, std::string_view path) {
  nlohmann::json* node = &file;
  while (!path.empty()) {
    if (path[0] == '.') path.remove_prefix(1);
    if (path[0] == '[') {
      node = &node->at(std::stoul(std::string(path.substr(1))));
      path.remove_prefix(path.find(']') + 1);
      continue;
    }
    std::string longest;
    for (const auto& [key, value] : node->items()) {
      if (path.starts_with(key) && key.size() > longest.size()) longest = key;
    }
    node = &node->at(longest);
    path.remove_prefix(longest.size());
  }
  *node = {{"nonsense", {1}}};
  return file;
}

inline void ExpectSameKeys(const nlohmann::json& schema, const std::vector<SpecSection>& sections) {
  std::set<std::string> names;
  for (const SpecSection& section : sections) {
    const std::string name(section.name);
    names.insert(name);
    const nlohmann::json& described = name.empty() ? schema : schema.at("definitions").at(name);
    // A layer is a word or a map; the map is the second form.
    const nlohmann::json& object = name == "layer" ? described.at("anyOf").at(1) : described;
    std::set<std::string> theirs, ours(section.keys.begin(), section.keys.end());
    for (const auto& [key, ignored] : object.at("properties").items()) theirs.insert(key);
    EXPECT_EQ(theirs, ours) << name;
    EXPECT_EQ(object.at("additionalProperties"), false) << name;
  }
  for (const auto& [name, definition] : schema.at("definitions").items()) {
    bool has_keys = definition.contains("properties");
    EXPECT_TRUE(!has_keys || names.contains(name)) << name << " is unknown to the reader";
  }
}

inline void ExpectDescribed(const std::string& manual, const std::vector<SpecSection>& sections) {
  for (const SpecSection& section : sections) {
    for (std::string_view key : section.keys) {
      bool described = manual.find("`" + std::string(key) + "`") != manual.npos ||
                       manual.find("## " + std::string(key)) != manual.npos;
      EXPECT_TRUE(described) << section.name << "." << key;
    }
  }
}

// Every key of `sections` stands in one of the examples, and each key there is really read: with
// nonsense in its place neither the schema nor the reader, whose message `refusal` gives, takes the
// file. `is_key` tells keys from names that people choose.
template <class Refusal, class IsKey>
void ExpectEachKeyShownAndRead(const std::vector<std::string>& examples,
                               const nlohmann::json& schema,
                               const std::vector<SpecSection>& sections, const Refusal& refusal,
                               const IsKey& is_key) {
  std::set<std::string> shown;
  for (const std::string& example : examples) {
    std::vector<YamlProblem> problems;
    const YamlNode root = ParseYaml(example, &problems);
    ForEachKey(root, "", [&](const std::string& path, const std::string& key) {
      if (!is_key(path)) return;
      shown.insert(key);
      const nlohmann::json spoiled = Spoiled(ToJson(example), path);
      EXPECT_FALSE(SchemaCheck(schema).Accepts(spoiled)) << path << " in " << example;
      // JSON is YAML, too.
      EXPECT_THAT(refusal(spoiled.dump()), testing::HasSubstr(": " + path)) << example;
    });
  }
  for (const SpecSection& section : sections) {
    for (std::string_view key : section.keys) {
      EXPECT_TRUE(shown.contains(std::string(key))) << key << " is in no example";
    }
  }
}

}  // namespace trainyard::coordinator
