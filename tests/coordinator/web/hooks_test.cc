// Shows whose word is taken for a push, what is made of it, and that everything else changes
// nothing: real requests on a real socket, bodies as GitHub, GitLab and Gitea send them.
#include "coordinator/web/hooks.h"

#include <gmock/gmock.h>

#include <mutex>
#include <utility>

#include "absl/strings/str_replace.h"
#include "coordinator/access/secrets.h"
#include "coordinator/access/signature.h"
#include "coordinator/web/http_server.h"
#include "coordinator/web/routes.h"
#include "tests/coordinator/web/http_client.h"

namespace trainyard::coordinator {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

constexpr char kShoesSecret[] = "the secret of the shoes";
constexpr char kBootsSecret[] = "the secret of the boots";
constexpr char kToken[] = "a token for every project";
constexpr char kShoesToken[] = "a token for the shoes";
constexpr char kCommit[] = "1481a2de7b2a7d02428ad93446ab166be7793fbb";
constexpr char kNone[] = "0000000000000000000000000000000000000000";

// As GitHub sends it, with less of what nobody reads.
std::string GitHubPush(const std::string& repository, const std::string& ref,
                       const std::string& after) {
  return absl::StrReplaceAll(
      R"({"ref":"REF","before":"6113728f27ae82c7b1a177c8d03f9e96e0adf246","after":"AFTER",)"
      R"("repository":{"id":186853002,"node_id":"MDEw","name":"NAME","full_name":"acme/NAME",)"
      R"("private":false,"owner":{"name":"acme","email":"a@acme.example",)"
      R"("url":"https://api.github.example/users/acme"},)"
      R"("html_url":"https://github.example/acme/NAME","description":null,"fork":false,)"
      R"("url":"https://github.example/acme/NAME","created_at":1557933565,)"
      R"("git_url":"git://github.example/acme/NAME.git",)"
      R"("ssh_url":"git@github.example:acme/NAME.git",)"
      R"("clone_url":"https://github.example/acme/NAME.git","size":0,"topics":[],)"
      R"("default_branch":"main"},)"
      R"("pusher":{"name":"acme","email":"a@acme.example"},)"
      R"("sender":{"login":"acme","id":21031067},)"
      R"("created":false,"deleted":DELETED,"forced":false,"base_ref":null,)"
      R"("compare":"https://github.example/acme/NAME/compare/6113728f27ae...000000000000",)"
      R"("commits":[{"id":"AFTER","message":"Schöne Schuhe \ud83d\udc5f","added":["repository"],)"
      R"("author":{"name":"a"}}],"head_commit":null})",
      {{"REF", ref},
       {"AFTER", after},
       {"NAME", repository},
       {"DELETED", after == kNone ? "true" : "false"}});
}

std::string Percent(const std::string& text) {
  std::string out;
  for (const unsigned char c : text) {
    char coded[4];
    snprintf(coded, sizeof coded, "%%%02X", c);
    out += coded;
  }
  return out;
}

class HooksTest : public testing::Test {
 protected:
  void SetUp() override {
    StartWith({{"shoes", kShoesSecret, ""},
               {"git@github.example:acme/boots", kBootsSecret, ""},
               {"", "", HashOfSecret(kToken)},
               {"shoes", "", HashOfSecret(kShoesToken)}});
  }
  void StartWith(std::vector<Hook> hooks) {
    server_.reset();
    hooks_ = std::make_unique<Hooks>(
        std::move(hooks),
        HookTargets{[this] { return projects_; },
                    [this](const std::vector<core::ProjectId>& projects, const std::string& by) {
                      std::lock_guard lock(mutex_);
                      for (const core::ProjectId id : projects) {
                        poked_.push_back(projects_.at(static_cast<size_t>(id.value - 1)).name);
                      }
                      by_ = by;
                    }});
    HttpOptions options;
    options.address = "127.0.0.1:0";
    auto server =
        HttpServer::Start(options, MakeRoutes({hooks_.get(), [this] { return trouble_; }}));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  Answer Send(const std::string& method, const std::string& target, const Headers& headers,
              const std::string& body = "") {
    return Ask(server_->address(), Request(method, target, headers, body));
  }
  Answer GitHub(const std::string& body, const std::string& signature, Headers more = {}) {
    more.try_emplace("Content-Type", "application/json");
    more.try_emplace("X-GitHub-Event", "push");
    more.try_emplace("X-GitHub-Delivery", "72d3162e-" + std::to_string(++deliveries_));
    more.try_emplace("User-Agent", "GitHub-Hookshot/f1aa6e4");
    if (!signature.empty()) more["X-Hub-Signature-256"] = signature;
    return Send("POST", "/hooks/github", more, body);
  }
  Answer ShoesPush(const std::string& body, Headers more = {}) {
    return GitHub(body, SignatureOf(kShoesSecret, body), std::move(more));
  }
  Answer Push(const std::string& body, Headers more = {{"Authorization", "Bearer " + Token()}}) {
    more.try_emplace("Content-Type", "application/json");
    return Send("POST", "/hooks/push", more, body);
  }
  static std::string Token() { return kToken; }
  // The projects that were looked at since the last call.
  std::vector<std::string> Poked() {
    std::lock_guard lock(mutex_);
    return std::exchange(poked_, {});
  }

  std::vector<WatchedProject> projects_ = {
      {core::ProjectId{1}, "shoes", "https://github.example/acme/shoes", "main"},
      {core::ProjectId{2}, "shoes-next", "ssh://git@github.example/acme/shoes.git", "next"},
      {core::ProjectId{3}, "boots", "https://github.example/acme/boots.git", ""},
      {core::ProjectId{4}, "local", "/srv/git/local.git", "main"}};
  std::string trouble_;
  int deliveries_ = 0;
  std::mutex mutex_;
  std::vector<std::string> poked_;
  std::string by_;
  std::unique_ptr<Hooks> hooks_;
  std::unique_ptr<HttpServer> server_;
};

// ---- GitHub ----

TEST_F(HooksTest, ASignedPushMakesItsProjectBeLookedAt) {
  const Answer answer = ShoesPush(GitHubPush("shoes", "refs/heads/main", kCommit));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "looking at shoes\n");
  EXPECT_THAT(Poked(), ElementsAre("shoes"));
  EXPECT_EQ(by_, "hook github");
}

TEST_F(HooksTest, AFormHoldsTheSameAndIsSignedAsItIs) {
  const std::string body = "payload=" + Percent(GitHubPush("shoes", "refs/heads/main", kCommit));
  EXPECT_EQ(ShoesPush(body, {{"Content-Type", "application/x-www-form-urlencoded"}}).status, 200);
  EXPECT_THAT(Poked(), ElementsAre("shoes"));
}

TEST_F(HooksTest, WithoutTheRightSignatureNothingIsBelieved) {
  const std::string body = GitHubPush("shoes", "refs/heads/main", kCommit);
  const std::string good = SignatureOf(kShoesSecret, body);
  for (const std::string& signature :
       {std::string(), std::string("sha256="), SignatureOf("another secret, not ours", body),
        SignatureOf(kShoesSecret, body + " "), good.substr(0, 70), good + "0",
        "sha1=" + good.substr(7), SignatureOf("", body), SignatureOf(kToken, body)}) {
    EXPECT_EQ(GitHub(body, signature).status, 401) << signature;
  }
  EXPECT_EQ(GitHub("garbage", SignatureOf("another secret, not ours", "garbage")).status, 401)
      << "it is not even parsed";
  EXPECT_EQ(GitHub(body, "", {{"X-Hub-Signature", "sha1=" + good.substr(7, 40)}}).status, 401);
  EXPECT_EQ(GitHub("{}", "", {{"X-GitHub-Event", "ping"}}).status, 401);
  EXPECT_THAT(Poked(), IsEmpty());
}

TEST_F(HooksTest, ARequestWithoutASignatureIsRefusedBeforeItsBodyIsSent) {
  EXPECT_EQ(Send("POST", "/hooks/github", {{"Content-Length", "1000000"}}).status, 401);
  EXPECT_EQ(Send("POST", "/hooks/push", {{"Content-Length", "1000000"}}).status, 401);
  EXPECT_EQ(
      Send("POST", "/git/notifyCommit?url=x&token=wrong", {{"Content-Length", "1000000"}}).status,
      401);
}

TEST_F(HooksTest, ASecretOpensOnlyWhatItIsFor) {
  const std::string body = GitHubPush("boots", "refs/heads/main", kCommit);
  const Answer answer = ShoesPush(body);
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr("no project of this hook watches"));
  EXPECT_THAT(Poked(), IsEmpty());
  EXPECT_EQ(GitHub(body, SignatureOf(kBootsSecret, body)).status, 200) << "named by its URL";
  EXPECT_THAT(Poked(), ElementsAre("boots"));
}

TEST_F(HooksTest, WhileASecretIsReplacedBothAreTaken) {
  StartWith({{"shoes", kShoesSecret, ""}, {"shoes", "the next secret of the shoes", ""}});
  const std::string body = GitHubPush("shoes", "refs/heads/main", kCommit);
  for (const char* secret : {kShoesSecret, "the next secret of the shoes"}) {
    EXPECT_EQ(GitHub(body, SignatureOf(secret, body)).status, 200);
    EXPECT_THAT(Poked(), ElementsAre("shoes"));
  }
}

TEST_F(HooksTest, AReplayedDeliveryDoesNothing) {
  const std::string body = GitHubPush("shoes", "refs/heads/main", kCommit);
  const Headers delivery = {{"X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"}};
  EXPECT_EQ(ShoesPush(body, delivery).status, 200);
  EXPECT_THAT(Poked(), ElementsAre("shoes"));
  const Answer again = ShoesPush(body, delivery);
  EXPECT_EQ(again.status, 200);
  EXPECT_THAT(again.body, HasSubstr("taken up before"));
  EXPECT_THAT(Poked(), IsEmpty());
}

TEST_F(HooksTest, DeliveriesAreRememberedWithinABound) {
  Deliveries deliveries;
  for (size_t i = 0; i <= Deliveries::kMax; ++i) deliveries.Add(std::to_string(i));
  EXPECT_FALSE(deliveries.Has("0"));
  EXPECT_TRUE(deliveries.Has("1"));
  EXPECT_TRUE(deliveries.Has(std::to_string(Deliveries::kMax)));
  deliveries.Add(std::string(10'000, 'x'));
  EXPECT_FALSE(deliveries.Has(std::string(10'000, 'x')));
}

TEST_F(HooksTest, PushesOutOfOrderAreHintsLikeOthers) {
  const std::string newer = GitHubPush("shoes", "refs/heads/main", kCommit);
  const std::string older = GitHubPush("shoes", "refs/heads/main", std::string(40, 'a'));
  EXPECT_EQ(ShoesPush(newer).status, 200);
  EXPECT_EQ(ShoesPush(older).status, 200);
  EXPECT_THAT(Poked(), ElementsAre("shoes", "shoes")) << "what is fetched is the branch as it is";
}

TEST_F(HooksTest, WhatIsNoPushToAWatchedBranchIsTakenQuietly) {
  const auto quiet = [&](const std::string& body, Headers more = {}) {
    const Answer answer = ShoesPush(body, std::move(more));
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_THAT(Poked(), IsEmpty()) << body;
    return answer.body;
  };
  EXPECT_THAT(quiet(GitHubPush("shoes", "refs/heads/feature/x", kCommit)),
              HasSubstr("\"refs/heads/feature/x\" is not watched"));
  EXPECT_THAT(quiet(GitHubPush("shoes", "refs/tags/v1", kCommit)), HasSubstr("not watched"));
  EXPECT_THAT(quiet(GitHubPush("shoes", "refs/heads/main", kNone)), HasSubstr("deleted"));
  EXPECT_THAT(quiet(GitHubPush("hats", "refs/heads/main", kCommit)), HasSubstr("no project"));
  EXPECT_THAT(quiet(R"({"zen":"Keep it logically awesome.","hook_id":1,"hook":{}})",
                    {{"X-GitHub-Event", "ping"}}),
              HasSubstr("may announce pushes to: shoes"));
  EXPECT_THAT(quiet(R"({"action":"opened"})", {{"X-GitHub-Event", "issues"}}),
              HasSubstr("the event \"issues\""));
}

TEST_F(HooksTest, AProjectWithoutABranchWatchesTheRepositorysDefault) {
  for (const auto& [ref, expected] : {std::pair("refs/heads/main", 1u), {"refs/heads/dev", 0u}}) {
    const std::string body = GitHubPush("boots", ref, kCommit);
    EXPECT_EQ(GitHub(body, SignatureOf(kBootsSecret, body)).status, 200);
    EXPECT_EQ(Poked().size(), expected) << ref;
  }
}

TEST_F(HooksTest, BadBodiesAreRefusedWithWhatIsWrong) {
  const auto refusal = [&](const std::string& body, const std::string& type = "application/json") {
    const Answer answer = ShoesPush(body, {{"Content-Type", type}});
    EXPECT_EQ(answer.status, 400) << body.substr(0, 100);
    EXPECT_THAT(Poked(), IsEmpty());
    return answer.body;
  };
  EXPECT_EQ(refusal("{\"ref\": "), "the body: no valid JSON at byte 9\n");
  EXPECT_THAT(refusal("\xff\xfe{}"), HasSubstr("no valid JSON"));
  EXPECT_THAT(refusal("{\"repository\": \"caf\xe9\"}"), HasSubstr("no valid JSON")) << "no UTF-8";
  EXPECT_THAT(refusal(std::string(100'000, '[')), HasSubstr("more than 32 levels"));
  EXPECT_THAT(refusal("{\"a\":" + std::string(100'000, '[')), HasSubstr("more than 32 levels"));
  EXPECT_THAT(refusal("[]"), HasSubstr("found no repository"));
  EXPECT_THAT(refusal("\"repository\""), HasSubstr("found no repository"));
  EXPECT_THAT(refusal(R"({"repository":{"clone_url":["x"]}})"), HasSubstr("found no repository"));
  EXPECT_THAT(refusal(R"([{"repository":"shoes"}])"), HasSubstr("found no repository"));
  EXPECT_THAT(refusal(R"({"repository":"shoes","after":"\u001b[31m"})"),
              AllOf(HasSubstr("commit: found"), Not(HasSubstr("\x1b"))));
  EXPECT_THAT(refusal("payload=%7B", "application/x-www-form-urlencoded"), HasSubstr("JSON"));
  EXPECT_THAT(refusal("%", "application/x-www-form-urlencoded"), HasSubstr("found no repository"));
  const std::string body = GitHubPush("shoes", "refs/heads/main", kCommit);
  EXPECT_EQ(ShoesPush(body, {{"Content-Type", "text/xml"}}).status, 415);
}

TEST_F(HooksTest, BrowsersAreSentAway) {
  const std::string body = GitHubPush("shoes", "refs/heads/main", kCommit);
  EXPECT_EQ(ShoesPush(body, {{"Origin", "https://evil.example"}}).status, 403);
  EXPECT_EQ(Push("{}", {{"Sec-Fetch-Site", "cross-site"}}).status, 403);
  EXPECT_EQ(Send("GET", "/git/notifyCommit?url=x", {{"Sec-Fetch-Site", "cross-site"}}).status, 403);
  EXPECT_THAT(Poked(), IsEmpty());
}

// ---- Anything else that can send a request ----

TEST_F(HooksTest, APlainPushNamesAProjectOrItsUrl) {
  for (const char* repository :
       {"shoes", "https://github.example/acme/shoes.git", "git@github.example:acme/shoes"}) {
    EXPECT_EQ(Push(std::string(R"({"repository":")") + repository + R"(","branch":"main",)" +
                   R"("commit":")" + kCommit + "\"}")
                  .body,
              "looking at shoes\n");
    EXPECT_THAT(Poked(), ElementsAre("shoes")) << repository;
  }
  EXPECT_EQ(by_, "hook push");
  EXPECT_EQ(Push(R"({"repository":"/srv/git/local.git","ref":"refs/heads/main"})").status, 200);
  EXPECT_THAT(Poked(), ElementsAre("local"));
  Push(R"({"repository":"git@github.example:acme/shoes"})");
  EXPECT_THAT(Poked(), UnorderedElementsAre("shoes", "shoes-next")) << "any of its branches";
  Push("repository=shoes&ref=main",
       {{"X-Trainyard-Token", kToken}, {"Content-Type", "application/x-www-form-urlencoded"}});
  EXPECT_THAT(Poked(), ElementsAre("shoes"));
}

TEST_F(HooksTest, GitLabsPayloadAndTokenAreTaken) {
  const std::string body =
      R"({"object_kind":"push","event_name":"push",)"
      R"("before":"95790bf891e76fee5e1747ab589903a6a1f80f22",)"
      R"("after":"da1560886d4f094c3e6c9ef40349f7d38b5d27d7","ref":"refs/heads/main",)"
      R"("checkout_sha":null,)"
      R"("project":{"id":15,"name":"Shoes","web_url":"https://github.example/acme/shoes",)"
      R"("git_ssh_url":"git@github.example:acme/shoes.git","path_with_namespace":"acme/shoes",)"
      R"("git_http_url":"https://github.example/acme/shoes.git","default_branch":"main"},)"
      R"("repository":{"name":"Shoes","url":"git@github.example:acme/shoes.git","homepage":"x"},)"
      R"("commits":[],"total_commits_count":0})";
  EXPECT_EQ(Push(body, {{"X-Gitlab-Event", "Push Hook"}, {"X-Gitlab-Token", kToken}}).status, 200);
  EXPECT_THAT(Poked(), ElementsAre("shoes"));
}

TEST_F(HooksTest, APlainPushIsVouchedForByATokenOrASignature) {
  const std::string body = R"({"repository":"shoes"})";
  EXPECT_EQ(Push(body, {{"X-Hub-Signature-256", SignatureOf(kShoesSecret, body)}}).status, 200);
  EXPECT_EQ(Push(body, {{"X-Trainyard-Token", kShoesToken}}).status, 200);
  EXPECT_EQ(Push(body, {{"Authorization", "bearer " + Token()}}).status, 200);
  EXPECT_EQ(Poked().size(), 3u);
  for (const Headers& wrong :
       {Headers{},
        {{"Authorization", "Bearer nonsense"}},
        {{"Authorization", Token()}},
        {{"X-Trainyard-Token", kShoesSecret}},
        {{"X-Trainyard-Token", HashOfSecret(kToken)}},
        {{"X-Hub-Signature-256", SignatureOf("another secret, not ours", body)}},
        {{"X-Hub-Signature-256", SignatureOf(kToken, body)}}}) {
    EXPECT_EQ(Push(body, wrong).status, 401);
  }
  EXPECT_THAT(Push(R"({"repository":"boots"})", {{"X-Trainyard-Token", kShoesToken}}).body,
              HasSubstr("no project of this hook"));
  EXPECT_THAT(Poked(), IsEmpty());
}

// ---- As Jenkins has it ----

TEST_F(HooksTest, NotifyCommitIsTakenAsJenkinsTakesIt) {
  const std::string start = "/git/notifyCommit?url=" + Percent("git@github.example:acme/shoes.git");
  const std::string token = "&token=" + Percent(kToken);
  const auto notify = [&](const std::string& method, const std::string& target,
                          const Headers& headers = {}, const std::string& body = "") {
    const Answer answer = Send(method, target, headers, body);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return answer.body;
  };
  EXPECT_EQ(notify("GET", start + token),
            "Scheduled polling of shoes\nScheduled polling of shoes-next\n");
  EXPECT_THAT(Poked(), ElementsAre("shoes", "shoes-next"));
  EXPECT_EQ(by_, "hook notifyCommit");
  EXPECT_EQ(notify("GET", start + "&branches=main,dev&sha1=" + kCommit + token),
            "Scheduled polling of shoes\n");
  EXPECT_EQ(notify("POST", start + "&branches=next" + token), "Scheduled polling of shoes-next\n");
  EXPECT_EQ(notify("POST", start + "&branches=main", {{"Authorization", "Bearer " + Token()}}),
            "Scheduled polling of shoes\n");
  EXPECT_EQ(
      notify("POST", "/git/notifyCommit", {{"Content-Type", "application/x-www-form-urlencoded"}},
             "url=/srv/git/local.git&token=" + Percent(kToken)),
      "Scheduled polling of local\n");
  Poked();
  EXPECT_THAT(notify("GET", start + "&branches=other" + token),
              HasSubstr("No git jobs using repository: "));
  EXPECT_THAT(notify("GET", "/git/notifyCommit?url=%1b%5b31m%0d%0aX:y" + token),
              Not(HasSubstr("\x1b")));
  EXPECT_THAT(Poked(), IsEmpty());
}

TEST_F(HooksTest, NotifyCommitAsksForItsToken) {
  const std::string start = "/git/notifyCommit?url=" + Percent("git@github.example:acme/boots.git");
  EXPECT_EQ(Send("GET", start, {}).body, "An access token is required\n");
  EXPECT_EQ(Send("GET", start + "&token=" + Percent(kBootsSecret), {}).body,
            "Invalid access token\n");
  for (const std::string& target : {start, start + "&token=", start + "&token=nonsense"}) {
    EXPECT_EQ(Send("GET", target, {}).status, 401);
    EXPECT_EQ(Send("POST", target, {}).status, 401);
  }
  EXPECT_EQ(Send("GET", "/git/notifyCommit?token=" + Percent(kToken), {}).status, 400);
  EXPECT_THAT(Send("GET", start + "&token=" + Percent(kShoesToken), {}).body,
              HasSubstr("No git jobs"));
  EXPECT_THAT(Poked(), IsEmpty());
}

// ---- Without a file of hooks ----

TEST_F(HooksTest, WithoutHooksEverybodyIsBelieved) {
  StartWith({});
  EXPECT_EQ(GitHub(GitHubPush("shoes", "refs/heads/main", kCommit), "").status, 200);
  EXPECT_EQ(Push(R"({"repository":"boots"})", {}).status, 200);
  EXPECT_EQ(Send("POST", "/git/notifyCommit?url=/srv/git/local", {}).status, 200);
  EXPECT_THAT(Poked(), ElementsAre("shoes", "boots", "local"));
}

TEST_F(HooksTest, TheListenerSaysWhetherAllIsWell) {
  EXPECT_EQ(Send("GET", "/healthz", {}).body, "ok\n");
  trouble_ = "/srv/state/records.db: the disk is full";
  const Answer answer = Send("GET", "/healthz", {});
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.body, Not(HasSubstr("/srv")));
}

}  // namespace
}  // namespace trainyard::coordinator
