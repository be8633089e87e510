// docs/spec.md, docs/spec.schema.json, examples/ and the reader say the same.
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "coordinator/source/data_reader.h"
#include "coordinator/source/data_roots.h"
#include "coordinator/source/spec_keys.h"
#include "coordinator/source/spec_writer.h"
#include "coordinator/source/yaml_tree.h"
#include "tests/coordinator/source/schema_check.h"
#include "tests/coordinator/source/spec_sample.h"

namespace trainyard::coordinator {
namespace {

using nlohmann::json;

std::string ReadText(const std::string& path) {
  std::ifstream file(std::string(TRAINYARD_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(file) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

const json& Schema() {
  static const json schema = json::parse(ReadText("docs/spec.schema.json"));
  return schema;
}

// The YAML blocks of docs/spec.md, each made whole where it shows one section only.
std::vector<std::string> DocumentedSpecs() {
  std::vector<std::string> specs;
  std::istringstream lines(ReadText("docs/spec.md"));
  std::string line, block;
  bool inside = false;
  while (std::getline(lines, line)) {
    if (line == "```yaml") {
      inside = true;
    } else if (line == "```" && inside) {
      inside = false;
      std::string whole = "\n" + block;
      if (whole.find("\ndata:") == whole.npos) block += "data: {format: cifar, train: a.bin}\n";
      if (whole.find("\nnetwork:") == whole.npos)
        block += "network: [global_avg_pool, dense: 10]\n";
      specs.push_back(std::exchange(block, ""));
    } else if (inside) {
      block += line + "\n";
    }
  }
  return specs;
}

json ToJson(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return nullptr;
    case YamlNode::Kind::kMap: {
      json map = json::object();
      for (const YamlEntry& entry : node.entries) map[entry.key] = ToJson(entry.value);
      return map;
    }
    case YamlNode::Kind::kSequence: {
      json list = json::array();
      for (const YamlNode& item : node.items) list.push_back(ToJson(item));
      return list;
    }
    case YamlNode::Kind::kScalar:
      break;
  }
  if (node.quoted) return node.text;
  json value = json::parse(node.text, nullptr, /*allow_exceptions=*/false);
  return value.is_number() || value.is_boolean() ? value : json(node.text);
}

json ToJson(const std::string& yaml) {
  std::vector<YamlProblem> problems;
  YamlNode node = ParseYaml(yaml, &problems);
  EXPECT_TRUE(problems.empty()) << yaml;
  return ToJson(node);
}

TEST(SpecDocs, SchemaAndReaderKnowTheSameKeys) {
  std::set<std::string> sections;
  for (const SpecSection& section : SpecSections()) {
    sections.insert(std::string(section.name));
    const json& described =
        section.name.empty() ? Schema() : Schema().at("definitions").at(std::string(section.name));
    // A layer is a word or a map; the map is the second form.
    const json& object = section.name == "layer" ? described.at("anyOf").at(1) : described;
    std::set<std::string> theirs, ours(section.keys.begin(), section.keys.end());
    for (const auto& [key, ignored] : object.at("properties").items()) theirs.insert(key);
    EXPECT_EQ(theirs, ours) << section.name;
    EXPECT_EQ(object.at("additionalProperties"), false) << section.name;
  }
  for (const auto& [name, definition] : Schema().at("definitions").items()) {
    bool has_keys = definition.contains("properties");
    EXPECT_TRUE(!has_keys || sections.contains(name)) << name << " is unknown to the reader";
  }
}

TEST(SpecDocs, EveryDocumentedExampleIsReadAndMatchesTheSchema) {
  auto specs = DocumentedSpecs();
  EXPECT_GE(specs.size(), 12u);
  specs.push_back(ReadText("examples/fashion-mnist/trainyard.yaml"));
  specs.push_back(kSmallSpec);
  for (const std::string& spec : specs) {
    Accepted(spec);
    EXPECT_TRUE(SchemaCheck(Schema()).Accepts(ToJson(spec))) << spec;
    std::string written = WriteSpec(Accepted(spec));
    EXPECT_TRUE(SchemaCheck(Schema()).Accepts(ToJson(written))) << written;
  }
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

TEST(SpecDocs, EveryKeyIsShownInAnExampleAndReallyRead) {
  std::set<std::string> shown;
  for (const std::string& spec : DocumentedSpecs()) {
    std::vector<YamlProblem> problems;
    YamlNode root = ParseYaml(spec, &problems);
    ForEachKey(root, "", [&](const std::string& path, const std::string& key) {
      shown.insert(key);
      // No key takes a map with a list under a key that nothing has: whoever reads it notices.
      EXPECT_THAT(Refusal(spec, {path + "={nonsense: [1]}"}), testing::HasSubstr("--set " + path))
          << spec;
      json spoiled = ToJson(spec);
      std::string pointer;
      for (char c : path) pointer += c == '.' || c == '[' ? "/" : c == ']' ? "" : std::string(1, c);
      spoiled[json::json_pointer("/" + pointer)] = {{"nonsense", {1}}};
      EXPECT_FALSE(SchemaCheck(Schema()).Accepts(spoiled)) << path << " in " << spec;
    });
  }
  for (const SpecSection& section : SpecSections()) {
    for (std::string_view key : section.keys) {
      EXPECT_TRUE(shown.contains(std::string(key))) << key << " is in no example";
    }
  }
}

TEST(SpecDocs, EveryKeyIsDescribed) {
  std::string text = ReadText("docs/spec.md");
  for (const SpecSection& section : SpecSections()) {
    for (std::string_view key : section.keys) {
      bool described = text.find("`" + std::string(key) + "`") != text.npos ||
                       text.find("## " + std::string(key)) != text.npos;
      EXPECT_TRUE(described) << section.name << "." << key;
    }
  }
}

TEST(SpecDocs, DefaultsOfTheSchemaAreThoseOfTheReader) {
  JobSpec plain = Accepted(kSmallSpec);
  for (const char* section : {"train", "schedule", "augmentation", "validation", "tune",
                              "checkpoint", "target", "resources"}) {
    for (const auto& [key, property] : Schema()["definitions"][section]["properties"].items()) {
      if (!property.contains("default")) continue;
      bool inner = std::string(section) == "schedule" || std::string(section) == "augmentation";
      std::string path = std::string(inner ? "train." : "") + section + "." + key;
      JobSpec same = Accepted(kSmallSpec, {path + "=" + property.at("default").dump()});
      EXPECT_EQ(ToProto(same).DebugString(), ToProto(plain).DebugString()) << path;
    }
  }
}

TEST(SpecDocs, TheExampleIsWhatItSays) {
  JobSpec spec = Accepted(ReadText("examples/fashion-mnist/trainyard.yaml"));
  EXPECT_EQ(std::llround(60'000 * spec.validation.fraction()), 5'000);
  EXPECT_EQ(spec.target.bound(), 0.91);
  network::Network network = spec.configuration.network;
  network.input = {1, 28, 28};
  EXPECT_EQ(network.classes, 10);
  EXPECT_TRUE(CheckNetwork(network).empty());
  EXPECT_LT(ParameterCount(network), 10'000) << "small on purpose";
}

TEST(SpecDocs, TheExampleFitsItsData) {
  const std::string folder = "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "dataset-fashion-mnist is not installed";
  auto parsed = ReadSpec({.text = ReadText("examples/fashion-mnist/trainyard.yaml")});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  std::vector<network::Problem> problems;
  v1::Data data = OpenData(
      parsed->spec.data,
      [&](const v1::DataFile& file) -> absl::StatusOr<std::string> {
        auto path = ResolveHostPath(file.host_path(), {folder});
        if (!path.ok()) return path.status();
        return path->string();
      },
      &problems);
  EXPECT_TRUE(parsed->origin.Error(problems).ok()) << parsed->origin.Error(problems);
  EXPECT_EQ(data.train().count(), 60'000);
  EXPECT_EQ(data.test().count(), 10'000);
  absl::Status status = CompleteSpec(data, &*parsed);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(parsed->spec.configuration.network.input, (network::Shape{1, 28, 28}));
}

}  // namespace
}  // namespace trainyard::coordinator
