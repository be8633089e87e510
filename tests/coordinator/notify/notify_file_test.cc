// What a notify file may say, and that everything wrong is told with its place and without secrets.
#include "coordinator/notify/notify_file.h"

#include <gmock/gmock.h>

#include "tests/coordinator/notify/notify_sample.h"

namespace trainyard::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(NotifyFile, SecretsComeFromFilesAndVariablesWithoutTheLinesEnd) {
  const NotifyFolder folder;
  const NotifyConfig config = folder.Accepted(R"(
webhooks:
  - {name: a, url_file: secrets/slack-url, secret_env: REGISTRY_SECRET}
  - {name: b, url_env: SLACK_URL, secret_file: chat-secret}
commit_statuses:
  - {name: c, token_file: forge-token}
)");
  ASSERT_EQ(config.webhooks.size(), 2u);
  EXPECT_EQ(config.webhooks[0].url, "https://hooks.slack.example/services/T0/B0/hidden");
  EXPECT_EQ(config.webhooks[0].secret, "hidden");
  EXPECT_EQ(config.webhooks[1].url, "https://hooks.slack.example/services/hidden");
  EXPECT_EQ(config.webhooks[1].secret, "hidden");
  ASSERT_EQ(config.commit_statuses.size(), 1u);
  EXPECT_EQ(config.commit_statuses[0].token, "hidden");
}

TEST(NotifyFile, Defaults) {
  const NotifyFolder folder;
  const NotifyConfig config = folder.Accepted(R"(
webhooks: [{name: a, url: "https://x.example/y"}]
mail:
  - {name: b, server: m.example, from: a@b.example, to: [c@d.example]}
  - {name: c, server: m.example, encryption: tls, from: a@b.example, to: [c@d.example]}
commit_statuses: [{name: d, token_env: GITHUB_TOKEN}]
)");
  EXPECT_EQ(config.give_up_after_ms, 86'400'000);
  EXPECT_FALSE(config.webhooks[0].connection.private_addresses);
  EXPECT_FALSE(config.webhooks[0].connection.plain_http);
  EXPECT_THAT(
      config.webhooks[0].events,
      ElementsAre(NoticeEvent::kTargetMet, NoticeEvent::kTargetMissed, NoticeEvent::kFailed));
  EXPECT_EQ(config.mail[0].port, 587);
  EXPECT_EQ(config.mail[1].port, 465);
  EXPECT_EQ(config.commit_statuses[0].api, "https://api.github.com");
  EXPECT_EQ(config.commit_statuses[0].host, "github.com");
  EXPECT_EQ(config.commit_statuses[0].events.size(), 5u);
}

TEST(NotifyFile, EveryProblemIsToldWithItsPlace) {
  const NotifyFolder folder;
  folder.Secret("empty", "");
  folder.Secret("two-lines", "hidden\nhidden");
  folder.Secret("odd-token", "hidden hidden");
  struct Case {
    std::string text, message;
  };
  const std::string mail = "server: m, from: a@b, to: [a@b]";
  for (const Case& bad : std::vector<Case>{
           {"{}", "notify.yaml:1:1: found no channel, expected webhooks, mail or commit_statuses"},
           {"webhoks: []",
            "notify.yaml:1:1: found the unknown key \"webhoks\", did you mean "
            "webhooks?"},
           {"webhooks:\n- {url: https://x}",
            "notify.yaml:2:3: webhooks[0]: found no name, expected a name for messages"},
           {"webhooks:\n- {name: a, url: https://x}\n- {name: a, url: https://y}",
            "notify.yaml:3:10: webhooks[1].name: found \"a\" a second time, expected another name"},
           {"webhooks: [{name: a, url_file: nothing}]",
            "notify.yaml:1:32: webhooks[0].url_file: found no file that can be read (No such file "
            "or directory), expected one with a secret"},
           {"webhooks: [{name: a, url_file: .}]",
            "notify.yaml:1:32: webhooks[0].url_file: found no regular file, expected one "
            "with a secret"},
           {"webhooks: [{name: a, url_env: TRAINYARD_NOT_SET}]",
            "notify.yaml:1:31: webhooks[0].url_env: found no such variable in the "
            "coordinator's environment, expected the name of one"},
           {"webhooks: [{name: a, url_file: secrets/slack-url, url_env: SLACK_URL}]",
            "notify.yaml:1:60: webhooks[0].url_env: found url_file beside it, expected one of "
            "them"},
           {"webhooks: [{name: a, url: http://x/hidden}]",
            "notify.yaml:1:27: webhooks[0].url: found http://, expected https://, or plain_http: "
            "true beside it"},
           {"webhooks: [{name: a, url: https://user:hidden@x}]",
            "notify.yaml:1:27: webhooks[0].url: found a user name or password in the URL, expected "
            "none"},
           {"webhooks: [{name: a, url: https://x, secret_file: empty}]",
            "notify.yaml:1:51: webhooks[0].secret_file: found a secret of 0 bytes, expected 1 to "
            "4096"},
           {"webhooks: [{name: a, url: https://x, secret_file: two-lines}]",
            "notify.yaml:1:51: webhooks[0].secret_file: found control characters in the secret, "
            "expected one line of text"},
           {"mail: [{name: a, user: u, " + mail + "}]",
            "notify.yaml:1:24: mail[0].user: found a user without a password, expected "
            "password_file or password_env beside it"},
           {"mail: [{name: a, encryption: none, user: u, password_env: MAIL_PASSWORD, " + mail +
                "}]",
            "notify.yaml:1:30: mail[0].encryption: found none beside a password, expected starttls "
            "or tls: everybody on the way could read it"},
           {"mail: [{name: a, server: m, from: a@b, to: [\"a@b>\\r\\nBcc: c\"]}]",
            "notify.yaml:1:45: mail[0].to[0]: found \"a@b>\\x0d\\x0aBcc: c\", expected an address "
            "such as you@example.com"},
           {"commit_statuses: [{name: a}]",
            "notify.yaml:1:19: commit_statuses[0]: found no token_file, expected token_file or "
            "token_env"},
           {"commit_statuses: [{name: a, token_file: odd-token}]",
            "notify.yaml:1:41: commit_statuses[0].token_file: found something else in it, expected "
            "a token of letters, digits and ._~+/=-"},
           {"job_url: https://x/1\nwebhooks: [{name: a, url: https://x}]",
            "notify.yaml:1:10: job_url: found no {job} in it, expected a URL such as "
            "https://ci.example/trainyard/{job}"},
           {"give_up_after: 40d\nwebhooks: [{name: a, url: https://x}]",
            "notify.yaml:1:16: give_up_after: found 40d, expected a duration"}}) {
    const std::string message = folder.Refusal(bad.text);
    EXPECT_THAT(message, testing::StartsWith(bad.message)) << bad.text;
    EXPECT_THAT(message, Not(HasSubstr("hidden"))) << bad.text;
  }
}

TEST(NotifyFile, WhatWasMeantForAFileOrVariableIsNotRepeatedEither) {
  const NotifyFolder folder;
  for (const char* key : {"token_file", "token_env"}) {
    EXPECT_THAT(
        folder.Refusal(std::string("commit_statuses: [{name: a, ") + key + ": ghp_hidden}]"),
        Not(HasSubstr("hidden")));
  }
}

TEST(NotifyFile, AFileThatCannotBeReadIsNamed) {
  EXPECT_EQ(ReadNotify("/nowhere/notify.yaml").status().message(),
            "/nowhere/notify.yaml: found nothing that can be read (No such file or directory), "
            "expected a notify file");
}

}  // namespace
}  // namespace trainyard::coordinator
