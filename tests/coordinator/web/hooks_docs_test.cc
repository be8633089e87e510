// docs/hooks.md, docs/hooks.schema.json and the reader say the same.
#include <gmock/gmock.h>
#include <stdlib.h>

#include "coordinator/web/hooks_file.h"
#include "tests/coordinator/source/documented.h"
#include "tests/coordinator/source/schema_check.h"
#include "tests/coordinator/source/temp_folder.h"

namespace trainyard::coordinator {
namespace {

using nlohmann::json;

const json& Schema() {
  static const json schema = json::parse(RepositoryFile("docs/hooks.schema.json"));
  return schema;
}

// What the examples name.
class HooksDocs : public testing::Test {
 protected:
  HooksDocs() {
    for (const char* name : {"shoes", "shoes.next", "boots", "jenkins"}) {
      folder_.Write(std::string(name) + ".secret", std::string("the secret of ") + name + "  ");
      folder_.Write(std::string(name) + ".token", std::string("the token of ") + name + "   ");
    }
    setenv("BOOTS_SECRET", "the secret of the boots", 1);
    setenv("JENKINS_TOKEN", "the token of jenkins", 1);
  }
  absl::Status Read(const std::string& text) const {
    return ReadHooksText(text, folder_ / "hooks.yaml").status();
  }
  const std::vector<std::string> examples_ = YamlBlocks(RepositoryFile("docs/hooks.md"));
  TempFolder folder_;
};

TEST_F(HooksDocs, SchemaAndReaderKnowTheSameKeys) { ExpectSameKeys(Schema(), HookSections()); }

TEST_F(HooksDocs, EveryKeyIsDescribed) {
  ExpectDescribed(RepositoryFile("docs/hooks.md"), HookSections());
}

TEST_F(HooksDocs, EveryExampleIsReadAndMatchesTheSchema) {
  EXPECT_GE(examples_.size(), 2u);
  for (const std::string& example : examples_) {
    EXPECT_EQ(Read(example), absl::OkStatus()) << example;
    EXPECT_TRUE(SchemaCheck(Schema()).Accepts(ToJson(example))) << example;
  }
}

TEST_F(HooksDocs, EveryKeyIsShownInAnExampleAndReallyRead) {
  ExpectEachKeyShownAndRead(
      examples_, Schema(), HookSections(),
      [&](const std::string& text) { return std::string(Read(text).message()); },
      [](const std::string&) { return true; });
}

TEST_F(HooksDocs, TheSchemaRefusesWhatTheReaderRefuses) {
  for (const char* text :
       {"{}", "hooks: []", "hooks: [{}]", "hooks: [{project: shoes}]", "hooks: [shoes]",
        "hooks: [{project: '', token_env: JENKINS_TOKEN}]", "hooks: [{secret: x}]",
        "hooks: [{secret_file: shoes.secret, secret_env: BOOTS_SECRET}]",
        "hooks: [{token_file: shoes.token, token_env: JENKINS_TOKEN}]"}) {
    EXPECT_FALSE(Read(text).ok()) << text;
    EXPECT_FALSE(SchemaCheck(Schema()).Accepts(ToJson(text))) << text;
  }
}

}  // namespace
}  // namespace trainyard::coordinator
