// docs/spec.md, docs/spec.schema.json, examples/ and the reader say the same.
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "coordinator/source/data_reader.h"
#include "coordinator/source/data_roots.h"
#include "coordinator/source/spec_keys.h"
#include "coordinator/source/spec_writer.h"
#include "coordinator/source/yaml_tree.h"
#include "tests/coordinator/source/documented.h"
#include "tests/coordinator/source/schema_check.h"
#include "tests/coordinator/source/spec_sample.h"

namespace trainyard::coordinator {
namespace {

using nlohmann::json;

const json& Schema() {
  static const json schema = json::parse(RepositoryFile("docs/spec.schema.json"));
  return schema;
}

// The YAML blocks of docs/spec.md, each made whole where it shows one section only.
std::vector<std::string> DocumentedSpecs() {
  std::vector<std::string> specs = YamlBlocks(RepositoryFile("docs/spec.md"));
  for (std::string& block : specs) {
    std::string whole = "\n" + block;
    if (whole.find("\nprogram:") != whole.npos) continue;
    if (whole.find("\ndata:") == whole.npos) block += "data: {format: cifar, train: a.bin}\n";
    if (whole.find("\nnetwork:") == whole.npos) block += "network: [global_avg_pool, dense: 10]\n";
  }
  return specs;
}

TEST(SpecDocs, SchemaAndReaderKnowTheSameKeys) { ExpectSameKeys(Schema(), SpecSections()); }

TEST(SpecDocs, EveryDocumentedExampleIsReadAndMatchesTheSchema) {
  auto specs = DocumentedSpecs();
  EXPECT_GE(specs.size(), 12u);
  specs.push_back(RepositoryFile("examples/fashion-mnist/trainyard.yaml"));
  specs.push_back(kSmallSpec);
  for (const std::string& spec : specs) {
    Accepted(spec);
    EXPECT_TRUE(SchemaCheck(Schema()).Accepts(ToJson(spec))) << spec;
    std::string written = WriteSpec(Accepted(spec));
    EXPECT_TRUE(SchemaCheck(Schema()).Accepts(ToJson(written))) << written;
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
      json spoiled = Spoiled(ToJson(spec), path);
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
  ExpectDescribed(RepositoryFile("docs/spec.md"), SpecSections());
}

TEST(SpecDocs, DefaultsOfAProgramInTheSchemaAreThoseOfTheReader) {
  const std::string spec = "program: {command: ./train}";
  for (const char* section : {"program", "changes"}) {
    for (const auto& [key, property] : Schema()["definitions"][section]["properties"].items()) {
      if (!property.contains("default")) continue;
      const std::string path = absl::StrCat(section, ".", key);
      const JobSpec same = Accepted(spec, {path + "=" + property.at("default").dump()});
      EXPECT_EQ(ToProto(same).DebugString(), ToProto(Accepted(spec)).DebugString()) << path;
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
  JobSpec spec = Accepted(RepositoryFile("examples/fashion-mnist/trainyard.yaml"));
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
  auto parsed = ReadSpec({.text = RepositoryFile("examples/fashion-mnist/trainyard.yaml")});
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
