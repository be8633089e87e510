// docs/notifications.md, docs/notify.schema.json and the reader say the same.
#include <gmock/gmock.h>

#include "tests/coordinator/notify/notify_sample.h"
#include "tests/coordinator/source/documented.h"
#include "tests/coordinator/source/schema_check.h"

namespace trainyard::coordinator {
namespace {

using nlohmann::json;

const json& Schema() {
  static const json schema = json::parse(RepositoryFile("docs/notify.schema.json"));
  return schema;
}

std::vector<std::string> Examples() { return YamlBlocks(RepositoryFile("docs/notifications.md")); }

TEST(NotifyDocs, SchemaAndReaderKnowTheSameKeys) { ExpectSameKeys(Schema(), NotifySections()); }

TEST(NotifyDocs, EveryKeyIsDescribed) {
  ExpectDescribed(RepositoryFile("docs/notifications.md"), NotifySections());
}

TEST(NotifyDocs, EveryExampleIsReadAndMatchesTheSchema) {
  const NotifyFolder folder;
  EXPECT_GE(Examples().size(), 4u);
  for (const std::string& example : Examples()) {
    folder.Accepted(example);
    EXPECT_TRUE(SchemaCheck(Schema()).Accepts(ToJson(example))) << example;
  }
}

TEST(NotifyDocs, EveryKeyIsShownInAnExampleAndReallyRead) {
  const NotifyFolder folder;
  ExpectEachKeyShownAndRead(
      Examples(), Schema(), NotifySections(),
      [&](const std::string& text) { return folder.Refusal(text); },
      // Sources are no keys.
      [](const std::string& path) { return path.find("repositories.") == path.npos; });
}

TEST(NotifyDocs, TheSchemaRefusesWhatTheReaderRefuses) {
  const NotifyFolder folder;
  for (const char* text :
       {"job_url: https://x/{job}", "webhooks: []", "webhooks: [{name: a}]",
        "webhooks: [{url: https://x}]", "webhooks: [{name: A, url: https://x}]",
        "webhooks: [{name: a, url: ftp://x}]", "webhooks: [{name: a, url: https://x, token: y}]",
        "webhooks: [{name: a, url: https://x, url_env: SLACK_URL}]",
        "webhooks: [{name: a, url: https://x, events: [created]}]",
        "webhooks: [{name: a, url: https://x, events: []}]",
        "mail: [{name: a, server: m, from: a@b, to: []}]",
        "mail: [{name: a, server: m, from: a b@c, to: [a@b]}]",
        "mail: [{name: a, server: -m, from: a@b, to: [a@b]}]",
        "mail: [{name: a, server: m, port: 0, from: a@b, to: [a@b]}]",
        "commit_statuses: [{name: a}]",
        "commit_statuses: [{name: a, token_env: GITHUB_TOKEN, repositories: {x: y}}]"}) {
    folder.Refusal(text);
    EXPECT_FALSE(SchemaCheck(Schema()).Accepts(ToJson(text))) << text;
  }
}

}  // namespace
}  // namespace trainyard::coordinator
