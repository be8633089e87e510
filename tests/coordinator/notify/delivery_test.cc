// Shows with real servers that notices arrive, are tried again as long as that may help and no
// longer, and that nobody waits for a receiver that does not answer.
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <future>

#include "absl/strings/str_cat.h"
#include "coordinator/access/signature.h"
#include "coordinator/notify/delivery_queue.h"
#include "tests/coordinator/notify/notify_sample.h"
#include "tests/coordinator/notify/receiver.h"

namespace trainyard::coordinator {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

const Cancelled kNever = [] { return false; };

WebhookConfig HookTo(int port, const std::string& path) {
  WebhookConfig config;
  config.name = "team";
  config.url = absl::StrCat("http://127.0.0.1:", port, path);
  config.connection = {.plain_http = true, .private_addresses = true, .ca = ""};
  return config;
}

std::shared_ptr<const JobNotice> Recent(NoticeEvent event = NoticeEvent::kTargetMet) {
  JobNotice notice = SampleNotice();
  notice.event = event;
  notice.job.set_source("https://github.com/vision/shoes.git");
  notice.job.set_ended_ms(0);
  notice.job.set_created_ms(std::chrono::duration_cast<std::chrono::milliseconds>(
                                std::chrono::system_clock::now().time_since_epoch())
                                .count());
  return std::make_shared<const JobNotice>(notice);
}

// How a delivery ended, to be waited for.
class Ending {
 public:
  DeliveryQueue::Done done() {
    return [promise = promise_](const absl::Status& how) { promise->set_value(how); };
  }
  absl::Status Wait() {
    auto future = promise_->get_future();
    if (future.wait_for(std::chrono::seconds(60)) != std::future_status::ready) {
      return absl::DeadlineExceededError("waited in vain");
    }
    return future.get();
  }

 private:
  std::shared_ptr<std::promise<absl::Status>> promise_ =
      std::make_shared<std::promise<absl::Status>>();
};

constexpr RetryOptions kSoon{.pause_ms = 1, .pause_max_ms = 10};

absl::Status Deliver(WebhookConfig config, RetryOptions options = kSoon) {
  Ending ending;
  DeliveryQueue queue(MakeWebhook(std::move(config)), options);
  queue.Add(Recent(), ending.done());
  return ending.Wait();
}

TEST(Delivery, AWebhookArrivesOverTlsSignedAndWithItsKey) {
  const Receiver receiver("https");
  WebhookConfig config = HookTo(receiver.port(), "/hook");
  config.url = absl::StrCat("https://localhost:", receiver.port(), "/hook");
  config.connection = {.plain_http = false, .private_addresses = true, .ca = receiver.ca()};
  config.secret = "webhook secret";
  EXPECT_TRUE(Deliver(config).ok());
  const json got = receiver.WaitFor(1).at(0);
  EXPECT_EQ(got.at("path"), "/hook");
  EXPECT_EQ(got.at("headers").at("Idempotency-Key"), SampleNotice().key);
  EXPECT_EQ(got.at("headers").at("X-Trainyard-Event"), "target_met");
  EXPECT_EQ(got.at("headers").at("X-Hub-Signature-256"),
            SignatureOf("webhook secret", got.at("body").get<std::string>()));
  EXPECT_EQ(json::parse(got.at("body").get<std::string>()).at("trainyard").at("job"), 3);
}

TEST(Delivery, OnlyWhomTheAuthoritiesVouchForIsTalkedTo) {
  const Receiver receiver("https");
  WebhookConfig config = HookTo(receiver.port(), "/hook");
  config.url = absl::StrCat("https://localhost:", receiver.port(), "/hook");
  const Outcome outcome = MakeWebhook(config)->Deliver(*Recent(), kNever);
  EXPECT_TRUE(absl::IsUnavailable(outcome.status)) << outcome.status;
  EXPECT_TRUE(receiver.received().empty());
}

TEST(Delivery, PrivateAddressesAndPlainHttpAreRefusedForGoodUnlessAllowed) {
  const Receiver receiver("http");
  WebhookConfig config = HookTo(receiver.port(), "/hook");
  config.connection.private_addresses = false;
  const absl::Status refused = Deliver(config);
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("private"));
  config = HookTo(receiver.port(), "/hook");
  config.connection.plain_http = false;
  EXPECT_FALSE(MakeWebhook(config)->Deliver(*Recent(), kNever).status.ok());
  EXPECT_TRUE(receiver.received().empty());
}

TEST(Delivery, WhatFailsIsTriedAgainWithTheSameKey) {
  const Receiver receiver("http");
  EXPECT_TRUE(Deliver(HookTo(receiver.port(), "/answer/500,503,408,200")).ok());
  const std::vector<json> got = receiver.received();
  ASSERT_EQ(got.size(), 4u);
  for (const json& one : got) {
    EXPECT_EQ(one.at("headers").at("Idempotency-Key"), SampleNotice().key);
    EXPECT_EQ(one.at("body"), got[0].at("body"));
  }
}

TEST(Delivery, ARefusalIsFinalAndARedirectIsNotFollowed) {
  for (const char* code : {"400", "404", "410", "302"}) {
    const Receiver receiver("http");
    const absl::Status status = Deliver(HookTo(receiver.port(), absl::StrCat("/answer/", code)));
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(code));
    EXPECT_EQ(receiver.received().size(), 1u);
  }
}

TEST(Delivery, RetryAfterIsObeyed) {
  const Receiver receiver("http");
  for (const char* path : {"/answer/429r1,200", "/answer/403r1,200"}) {
    EXPECT_TRUE(Deliver(HookTo(receiver.port(), path)).ok()) << path;
  }
  const std::vector<json> got = receiver.received();
  ASSERT_EQ(got.size(), 4u);
  for (const size_t again : {1, 3}) {
    EXPECT_GE(got[again].at("ms").get<double>() - got[again - 1].at("ms").get<double>(), 990);
  }
}

TEST(Delivery, AReceiverThatComesUpLaterGetsIt) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const int holder = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(holder, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(getsockname(holder, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const int port = ntohs(address.sin_port);
  const WebhookConfig config = HookTo(port, "/hook");
  EXPECT_TRUE(absl::IsUnavailable(MakeWebhook(config)->Deliver(*Recent(), kNever).status));
  Ending ending;
  DeliveryQueue queue(MakeWebhook(config), kSoon);
  queue.Add(Recent(), ending.done());
  close(holder);
  const Receiver receiver("http", port);
  EXPECT_TRUE(ending.Wait().ok());
  EXPECT_EQ(receiver.received().size(), 1u);
}

TEST(Delivery, WhatIsTooOldIsGivenUpAfterOneTry) {
  const Receiver receiver("http");
  RetryOptions options = kSoon;
  options.give_up_after_ms = 0;
  const absl::Status status = Deliver(HookTo(receiver.port(), "/answer/500"), options);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(receiver.received().size(), 1u);
  // So is what the receiver wants to have later than that.
  options.give_up_after_ms = 60'000;
  EXPECT_FALSE(Deliver(HookTo(receiver.port(), "/answer/429r3600"), options).ok());
  EXPECT_EQ(receiver.received().size(), 2u);
}

TEST(Delivery, AReceiverThatNeverAnswersHoldsUpNobodyAndFillsNothing) {
  const Receiver receiver("http");
  RetryOptions options = kSoon;
  options.waiting_max = 1;
  Ending under_way, oldest, newest;
  {
    DeliveryQueue stuck(MakeWebhook(HookTo(receiver.port(), "/hang")), options);
    stuck.Add(Recent(), under_way.done());
    receiver.WaitFor(1);
    EXPECT_TRUE(Deliver(HookTo(receiver.port(), "/hook")).ok());
    stuck.Add(Recent(), oldest.done());
    stuck.Add(Recent(), newest.done());
    EXPECT_TRUE(absl::IsResourceExhausted(oldest.Wait()));
  }  // and its end waits for no answer
  EXPECT_EQ(receiver.received().size(), 2u);
}

TEST(Delivery, AJobsEndTakesThePlaceOfItsCreation) {
  const Receiver receiver("http");
  CommitStatusConfig config;
  config.name = "github";
  config.api = absl::StrCat("http://127.0.0.1:", receiver.port(), "/answer/500,201");
  config.host = "github.com";
  config.token = "hidden";
  config.connection = {.plain_http = true, .private_addresses = true, .ca = ""};
  Ending ending;
  {
    DeliveryQueue queue(MakeCommitStatus(config), {.pause_ms = 100, .pause_max_ms = 100});
    queue.Add(Recent(NoticeEvent::kCreated), [](const absl::Status&) { FAIL(); });
    receiver.WaitFor(1);
    queue.Add(Recent(), ending.done());
    EXPECT_TRUE(ending.Wait().ok());
    // One more would show whether the creation still comes.
    Ending later;
    queue.Add(Recent(NoticeEvent::kFailed), later.done());
    EXPECT_TRUE(later.Wait().ok());
  }
  std::vector<std::string> states;
  for (const json& got : receiver.received()) {
    EXPECT_EQ(got.at("path"),
              absl::StrCat("/answer/500,201/repos/vision/shoes/statuses/", kCommit));
    EXPECT_EQ(got.at("headers").at("Authorization"), "Bearer hidden");
    states.push_back(json::parse(got.at("body").get<std::string>()).at("state"));
  }
  EXPECT_THAT(states, testing::ElementsAre("pending", "success", "error"));
}

MailConfig MailTo(const Receiver& receiver) {
  MailConfig config;
  config.name = "mail";
  config.server = "localhost";
  config.port = receiver.port();
  config.user = "trainyard";
  config.password = "mail-Pa55-word";
  config.from = "trainyard@example.com";
  config.to = {"a@example.com"};
  config.connection = {.private_addresses = true, .ca = receiver.ca()};
  return config;
}

TEST(Delivery, MailIsSentOverTlsWithALogin) {
  const Receiver receiver("mail");
  const Outcome outcome = MakeMail(MailTo(receiver))->Deliver(*Recent(), kNever);
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  const json got = receiver.WaitFor(1).at(0);
  EXPECT_EQ(got.at("from"), "trainyard@example.com");
  EXPECT_EQ(got.at("to"), json({"a@example.com"}));
  EXPECT_EQ(got.at("tls"), true);
  EXPECT_EQ(got.at("login"), "trainyard");
  EXPECT_THAT(got.at("message").get<std::string>(),
              HasSubstr("Message-ID: <trainyard-00112233-notice-7@example.com>"));
}

TEST(Delivery, ARecipientWhoIsRefusedKeepsMailFromNoOther) {
  const Receiver receiver("mail");
  MailConfig config = MailTo(receiver);
  config.to = {"gone@example.com", "b@example.com"};
  const Outcome outcome = MakeMail(config)->Deliver(*Recent(), kNever);
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(receiver.WaitFor(1).at(0).at("to"), json({"b@example.com"}));
  config.to = {"gone@example.com"};
  EXPECT_TRUE(absl::IsInvalidArgument(MakeMail(config)->Deliver(*Recent(), kNever).status));
}

TEST(Delivery, MailIsNotSentWithoutTlsOrByAnUnknownUser) {
  const Receiver receiver("mail");
  MailConfig config = MailTo(receiver);
  config.connection.ca = "";
  EXPECT_TRUE(absl::IsUnavailable(MakeMail(config)->Deliver(*Recent(), kNever).status));
  config = MailTo(receiver);
  config.connection.private_addresses = false;
  EXPECT_TRUE(absl::IsInvalidArgument(MakeMail(config)->Deliver(*Recent(), kNever).status));
  config = MailTo(receiver);
  config.password = "wrong-hidden";
  const Outcome outcome = MakeMail(config)->Deliver(*Recent(), kNever);
  EXPECT_TRUE(absl::IsInvalidArgument(outcome.status)) << outcome.status;
  EXPECT_THAT(std::string(outcome.status.message()), Not(HasSubstr("hidden")));
  EXPECT_TRUE(receiver.received().empty());
}

}  // namespace
}  // namespace trainyard::coordinator
