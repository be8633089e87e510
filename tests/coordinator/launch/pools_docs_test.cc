// docs/pools.md, docs/pools.schema.json and the reader say the same.
#include <gmock/gmock.h>

#include "tests/coordinator/launch/pools_sample.h"
#include "tests/coordinator/source/documented.h"
#include "tests/coordinator/source/schema_check.h"

namespace trainyard::coordinator {
namespace {

using nlohmann::json;

const json& Schema() {
  static const json schema = json::parse(RepositoryFile("docs/pools.schema.json"));
  return schema;
}

std::vector<std::string> Examples() { return YamlBlocks(RepositoryFile("docs/pools.md")); }

TEST(PoolsDocs, SchemaAndReaderKnowTheSameKeys) { ExpectSameKeys(Schema(), PoolSections()); }

TEST(PoolsDocs, EveryKeyIsDescribed) {
  ExpectDescribed(RepositoryFile("docs/pools.md"), PoolSections());
}

TEST(PoolsDocs, EveryExampleIsReadAndMatchesTheSchema) {
  const PoolsFolder folder;
  EXPECT_GE(Examples().size(), 4u);
  for (const std::string& example : Examples()) {
    folder.Accepted(example);
    EXPECT_TRUE(SchemaCheck(Schema()).Accepts(ToJson(example))) << example;
  }
}

TEST(PoolsDocs, EveryKeyIsShownInAnExampleAndReallyRead) {
  const PoolsFolder folder;
  ExpectEachKeyShownAndRead(
      Examples(), Schema(), PoolSections(),
      [&](const std::string& text) { return folder.Refusal(text); },
      [](const std::string&) { return true; });
}

TEST(PoolsDocs, TheSchemaRefusesWhatTheReaderRefuses) {
  const PoolsFolder folder;
  for (const char* text :
       {"pools: {}", "pools: {process: {docker: {hosts: [{name: a}]}}}", "pools: {a: {}}",
        "pools: {A: {docker: {hosts: [{name: a}]}}}", "pools: {a: {docker: {hosts: []}}}",
        "pools: {a: {docker: {hosts: [{}]}}}", "pools: {a: {docker: {hosts: [{name: a, url: x}]}}}",
        "pools: {a: {docker: {hosts: [{name: a}]}, slurm: {workers: 1, folder: /a}}}",
        "pools: {a: {slurm: {folder: /a}}}", "pools: {a: {slurm: {workers: 1}}}",
        "pools: {a: {slurm: {workers: 1, folder: a}}}",
        "pools: {a: {slurm: {workers: 1, folder: /a, gres: 'tpu:1', gpu_memory: 1GiB}}}",
        "pools: {a: {slurm: {workers: 1, folder: /a, environment: {1a: x}}}}"}) {
    folder.Refusal(text);
    EXPECT_FALSE(SchemaCheck(Schema()).Accepts(ToJson(text))) << text;
  }
}

}  // namespace
}  // namespace trainyard::coordinator
