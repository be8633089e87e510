#include "coordinator/notify/webhook.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "coordinator/access/signature.h"
#include "coordinator/notify/channel.h"

namespace trainyard::coordinator {
namespace {

using nlohmann::json;

constexpr size_t kTextMax = 1'500;  // Discord takes 2000 characters

// A name is never a link, nor calls people up: @here, <!channel>.
std::string ForChat(const std::string& text) {
  return absl::StrReplaceAll(text,
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"@", "@\u200b"}});
}

const char* ColorOf(NoticeEvent event) {
  switch (event) {
    case NoticeEvent::kTargetMet:
      return "#2eb886";
    case NoticeEvent::kTargetMissed:
      return "#daa038";
    case NoticeEvent::kFailed:
      return "#a30200";
    default:
      return "#808080";
  }
}

json DataOf(const JobNotice& notice) {
  const v1::Job& job = notice.job;
  const auto known = [](bool is, auto value) { return is ? json(value) : json(nullptr); };
  const bool best = job.best_trial() > 0;
  const bool target = !MetricName(job).empty();
  const bool tested = job.model().test_count() > 0;
  return {{"delivery", notice.key},
          {"event", Name(notice.event)},
          {"job", job.id()},
          {"name", job.name()},
          {"project", job.project()},
          {"source", job.source()},
          {"commit", job.commit()},
          {"state", StateName(job)},
          {"reason", job.reason().empty() ? notice.text : job.reason()},
          {"metric", known(target, MetricName(job))},
          {"target", known(target, job.spec().target().bound())},
          {"best", known(best, job.best_metric())},
          {"trial", known(best, job.best_trial())},
          {"epoch", known(best, job.best_epoch())},
          {"trials", job.trials_size()},
          {"test_accuracy", known(tested, job.model().test_accuracy())},
          {"created_ms", job.created_ms()},
          {"ended_ms", job.ended_ms()},
          {"links", {{"job", known(!notice.link.empty(), notice.link)}}}};
}

class Webhook final : public Channel {
 public:
  explicit Webhook(WebhookConfig config) : Channel(config), config_(std::move(config)) {}

  Outcome Deliver(const JobNotice& notice, const Cancelled& cancelled) override {
    HttpPost post{config_.url,
                  {absl::StrCat("Idempotency-Key: ", notice.key),
                   absl::StrCat("X-Trainyard-Event: ", std::string(Name(notice.event)))},
                  WebhookBody(notice)};
    if (!config_.secret.empty()) {
      post.headers.push_back(
          absl::StrCat("X-Hub-Signature-256: ", SignatureOf(config_.secret, post.body)));
    }
    return Post(post, config_.connection, cancelled);
  }

 private:
  const WebhookConfig config_;
};

}  // namespace

std::string WebhookBody(const JobNotice& notice) {
  const std::string headline = ForChat(Shortened(Headline(notice), kTextMax));
  json fields = json::array();
  for (const auto& [name, value] : Facts(notice)) {
    fields.push_back({{"title", name}, {"value", ForChat(value)}, {"short", value.size() <= 40}});
  }
  json attachment = {{"fallback", headline},
                     {"color", ColorOf(notice.event)},
                     {"fields", std::move(fields)},
                     {"footer", "Trainyard"},
                     {"ts", notice.time_ms() / 1'000}};
  if (!notice.link.empty()) {
    attachment["title"] = absl::StrCat("Job ", notice.job.id());
    attachment["title_link"] = notice.link;
  }
  const json body = {{"text", headline},
                     {"attachments", json::array({std::move(attachment)})},
                     {"trainyard", DataOf(notice)}};
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::unique_ptr<Channel> MakeWebhook(WebhookConfig config) {
  return std::make_unique<Webhook>(std::move(config));
}

}  // namespace trainyard::coordinator
