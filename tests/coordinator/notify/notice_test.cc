// What a notice looks like on each channel, and that nothing in a job's name breaks out of its
// place.
#include "coordinator/notify/notice.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "coordinator/notify/commit_status.h"
#include "coordinator/notify/mail.h"
#include "coordinator/notify/webhook.h"
#include "tests/coordinator/notify/notify_sample.h"

namespace trainyard::coordinator {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

JobNotice Failed(const std::string& name, const std::string& reason) {
  JobNotice notice;
  notice.key = "key";
  notice.job.set_id(4);
  notice.job.set_name(name);
  notice.job.set_state(v1::JOB_STATE_FAILED);
  notice.job.set_reason(reason);
  return notice;
}

TEST(Notice, HeadlinesSayTheResultInNumbers) {
  JobNotice notice = SampleNotice();
  EXPECT_EQ(Headline(notice), "shoes: target met, val_accuracy 0.9134 (target >= 0.91)");
  notice.event = NoticeEvent::kTargetMissed;
  EXPECT_EQ(Headline(notice),
            "shoes: target missed, best so far val_accuracy 0.9134 (target >= 0.91)");
  EXPECT_EQ(Headline(Failed("small", "no memory")), "small: job 4 failed: no memory");
}

TEST(Notice, LinksAreFilledIn) {
  EXPECT_EQ(LinkTo(SampleNotice().job, "https://x/{job}?c={commit}"),
            std::string("https://x/3?c=") + kCommit);
  EXPECT_EQ(LinkTo(SampleNotice().job, ""), "");
}

TEST(Notice, CutsBetweenCharacters) {
  EXPECT_EQ(Shortened("ääää", 8), "ääää");
  EXPECT_EQ(Shortened("äääää", 8), "ää...");
}

TEST(WebhookBody, HasAMessageForChatsAndDataForPrograms) {
  const json body = json::parse(WebhookBody(SampleNotice()));
  EXPECT_EQ(body.at("text"), "shoes: target met, val_accuracy 0.9134 (target &gt;= 0.91)");
  const json& attachment = body.at("attachments").at(0);
  EXPECT_EQ(attachment.at("title_link"), "https://ci.example/trainyard/3");
  for (const json& field : attachment.at("fields")) {
    EXPECT_TRUE(field.at("title").is_string() && field.at("value").is_string()) << field;
  }
  const json expected = {
      {"delivery", "trainyard-00112233-notice-7"},
      {"event", "target_met"},
      {"job", 3},
      {"name", "small"},
      {"project", "shoes"},
      {"source", "git@github.com:vision/shoes.git"},
      {"commit", kCommit},
      {"state", "succeeded"},
      {"reason", "target met at epoch 5"},
      {"metric", "val_accuracy"},
      {"target", 0.91},
      {"best", 0.9134},
      {"trial", 2},
      {"epoch", 5},
      {"trials", 2},
      {"test_accuracy", 0.9012},
      {"created_ms", 1'700'000'000'000},
      {"ended_ms", 1'700'000'600'000},
      {"links", {{"job", "https://ci.example/trainyard/3"}}},
  };
  EXPECT_EQ(body.at("trainyard"), expected);
}

TEST(WebhookBody, WithoutAModelThereAreNoNumbers) {
  const json data = json::parse(WebhookBody(Failed("small", "no memory"))).at("trainyard");
  for (const char* key : {"metric", "target", "best", "trial", "epoch", "test_accuracy"}) {
    EXPECT_TRUE(data.at(key).is_null()) << key;
  }
  EXPECT_TRUE(data.at("links").at("job").is_null());
}

TEST(WebhookBody, NamesCallNobodyUpAndMakeNoLinks) {
  const json body =
      json::parse(WebhookBody(Failed("<!channel> @here", "<https://evil.example|good> @all")));
  const std::string chat = body.at("text").dump() + body.at("attachments").dump();
  for (const char* bad : {"<", ">", "@here", "@all"}) EXPECT_THAT(chat, Not(HasSubstr(bad)));
  EXPECT_EQ(body.at("trainyard").at("name"), "<!channel> @here") << "data are as they are";
}

TEST(MailMessage, NothingInANameBecomesAHeader) {
  MailConfig config;
  config.from = "trainyard@example.com";
  config.to = {"a@example.com", "b@example.com"};
  const std::string message = MailMessage(
      Failed("x\r\nBcc: evil@example.com\r\n\r\nhello", "why\r\n.\r\nRCPT TO: evil"), config);
  const std::string headers = message.substr(0, message.find("\r\n\r\n"));
  EXPECT_THAT(headers, Not(HasSubstr("\r\nBcc")));
  EXPECT_THAT(message, Not(HasSubstr("\r\n.")));
  EXPECT_THAT(headers, HasSubstr("\r\nTo: a@example.com,\r\n b@example.com\r\n"));
  EXPECT_THAT(headers, HasSubstr("\r\nMessage-ID: <key@example.com>\r\n"));
  for (size_t at = 0, end; (end = message.find("\r\n", at)) != message.npos; at = end + 2) {
    EXPECT_LE(end - at, 78u) << message.substr(at, end - at);
    EXPECT_EQ(message.substr(at, end - at).find_first_of("\r\n"), std::string::npos);
  }
}

TEST(MailMessage, SubjectsAreEncodedWhereTheyMustBe) {
  EXPECT_EQ(EncodedHeader("shoes: target met"), "shoes: target met");
  EXPECT_EQ(EncodedHeader("Schuhe für alle"), "=?UTF-8?B?U2NodWhlIGbDvHIgYWxsZQ==?=");
  EXPECT_EQ(EncodedHeader("=?UTF-8?Q?x?="), "=?UTF-8?B?PT9VVEYtOD9RP3g/PQ==?=")
      << "nobody decodes what was not encoded here";
}

TEST(CommitStatus, RepositoriesAreFoundInEveryFormOfUrl) {
  for (const char* url :
       {"https://github.com/vision/shoes", "https://github.com/vision/shoes.git",
        "https://GitHub.com:443/vision/shoes/", "ssh://git@github.com/vision/shoes.git",
        "ssh://git@github.com:22/vision/shoes", "git@github.com:vision/shoes.git",
        "github.com:vision/shoes"}) {
    EXPECT_EQ(RepositoryOn("github.com", url), "vision/shoes") << url;
  }
  EXPECT_EQ(RepositoryOn("[fd00::1]", "ssh://git@[fd00::1]:22/Vision/Shoes"), "Vision/Shoes");
  for (const char* url :
       {"https://github.com.evil.example/vision/shoes", "https://evil.example/github.com/vision",
        "https://github.com/vision", "https://github.com/vision/shoes/more",
        "https://github.com/../shoes", "https://github.com/vision/sho%2fes", "github.com", "",
        "/srv/git/vision/shoes.git", "https://github.com@evil.example/vision/shoes",
        "git@evil.example:vision/shoes"}) {
    EXPECT_EQ(RepositoryOn("github.com", url), std::nullopt) << url;
  }
}

TEST(CommitStatus, OnlyJobsWithACommitOfTheServersHaveOne) {
  CommitStatusConfig config;
  config.host = "github.com";
  config.repositories = {{"/srv/mirror.git", "vision/mirror"}};
  v1::Job job = SampleNotice().job;
  EXPECT_EQ(RepositoryOf(job, config), "vision/shoes");
  job.set_source("/srv/mirror.git");
  EXPECT_EQ(RepositoryOf(job, config), "vision/mirror");
  job.set_commit("");
  EXPECT_EQ(RepositoryOf(job, config), std::nullopt);
  job.set_commit("0123456789abcdef0123456789abcdef0123456/");
  EXPECT_EQ(RepositoryOf(job, config), std::nullopt);
}

TEST(CommitStatus, SaysAccuracyAndTargetInFewWords) {
  const json body = json::parse(CommitStatusBody(SampleNotice(), "trainyard"));
  const json expected = {
      {"state", "success"},
      {"description", "target met: val_accuracy 0.9134 at epoch 5 of trial 2 (target >= 0.91)"},
      {"context", "trainyard"},
      {"target_url", "https://ci.example/trainyard/3"}};
  EXPECT_EQ(body, expected);
  const json failed =
      json::parse(CommitStatusBody(Failed("small", std::string(200, 'x')), "trainyard"));
  EXPECT_EQ(failed.at("state"), "error");
  EXPECT_LE(failed.at("description").get<std::string>().size(), 140u);
  EXPECT_FALSE(failed.contains("target_url"));
}

}  // namespace
}  // namespace trainyard::coordinator
