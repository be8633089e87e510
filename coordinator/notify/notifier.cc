#include "coordinator/notify/notifier.h"

#include <spdlog/spdlog.h>

#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/convert/api.h"

namespace trainyard::coordinator {

Notifier::Notifier(Options options, Loop* loop)
    : coordinator_id_(std::move(options.coordinator_id)),
      job_url_(options.config.job_url),
      loop_(loop) {
  RetryOptions retry = options.retry;
  retry.give_up_after_ms = options.config.give_up_after_ms;
  const auto add = [&](std::unique_ptr<Channel> channel) {
    queues_.push_back(std::make_unique<DeliveryQueue>(std::move(channel), retry));
  };
  bool creations = false;
  for (WebhookConfig& webhook : options.config.webhooks) add(MakeWebhook(std::move(webhook)));
  for (MailConfig& mail : options.config.mail) add(MakeMail(std::move(mail)));
  for (CommitStatusConfig& status : options.config.commit_statuses) {
    creations = creations || status.events.contains(NoticeEvent::kCreated);
    add(MakeCommitStatus(std::move(status)));
  }
  if (creations) WatchCreations();
}

Notifier::~Notifier() {
  // On the thread that reads it; from then on nobody adds to that thread's work but Tell.
  std::promise<void> gone;
  composing_->Add([&] {
    creations_.reset();
    gone.set_value();
  });
  gone.get_future().wait();
  composing_.reset();
  queues_.clear();
}

void Notifier::Tell(const core::Notify& effect) {
  composing_->Add([this, effect] { TellOf(effect); });
}

void Notifier::TellOf(const core::Notify& effect) {
  absl::StatusOr<v1::Job> job = loop_->GetJob(effect.job);
  if (!job.ok()) {  // its records cannot be read: the notice itself says so
    job = v1::Job();
    job->set_id(effect.job.value);
    job->set_state(v1::JOB_STATE_FAILED);
  }
  JobNotice made = Notice(*std::move(job), "notice", effect.notice.value);
  made.event = EndOf(made.job.state());
  made.text = Utf8(effect.text);
  const auto notice = std::make_shared<const JobNotice>(std::move(made));
  const std::vector<DeliveryQueue*> queues = Wanting(*notice);
  if (queues.empty()) return loop_->Post(core::NoticeSent{effect.notice});
  {
    std::lock_guard lock(mutex_);
    const auto [entry, is_new] =
        open_.try_emplace(effect.notice, Open{static_cast<int>(queues.size()), {}});
    if (!is_new) return;  // under way already
  }
  for (DeliveryQueue* queue : queues) {
    queue->Add(notice, [this, id = effect.notice, queue, job = effect.job](
                           const absl::Status& how) { Finish(id, *queue, job, how); });
  }
}

void Notifier::Finish(core::NoticeId notice, const DeliveryQueue& queue, core::JobId job,
                      const absl::Status& how) {
  core::NoticeSent sent{notice};
  {
    std::lock_guard lock(mutex_);
    const auto open = open_.find(notice);
    if (!how.ok()) {
      open->second.troubles.push_back(
          absl::StrCat(queue.channel().name(), ": ", std::string(how.message())));
      spdlog::error("notify {}: job {} could not be told of, and is not tried again: {}",
                    queue.channel().name(), job.value, std::string(how.message()));
    }
    if (--open->second.channels > 0) return;
    if (!open->second.troubles.empty()) {
      sent.trouble =
          absl::StrCat("not everybody could be told: ", absl::StrJoin(open->second.troubles, "; "));
    }
    open_.erase(open);
  }
  loop_->Post(std::move(sent));
}

// ---- New jobs. Best effort, and again after a restart: a pending status twice is the same. ----

void Notifier::WatchCreations() {
  creations_ = loop_->WatchEvents({}, loop_->last_cursor(),
                                  [this] { composing_->Add([this] { TellCreations(); }); });
  std::vector<core::JobId> unfinished = loop_->Read([](const core::State& state) {
    std::vector<core::JobId> jobs;
    for (const auto& [id, job] : state.jobs) {
      if (!job.ended()) jobs.push_back(id);
    }
    return jobs;
  });
  composing_->Add([this, jobs = std::move(unfinished)] {
    for (const core::JobId id : jobs) {
      if (const auto job = loop_->GetJob(id); job.ok()) TellCreation(*job);
    }
  });
}

void Notifier::TellCreations() {
  constexpr int kBatch = 100;
  while (creations_ != nullptr) {
    const auto events = creations_->Take(kBatch);
    if (!events.ok() || events->empty()) return;
    for (const v1::Event& event : *events) {
      if (event.kind() != core::Name(core::HistoryKind::kJobCreated)) continue;
      if (const auto job = loop_->GetJob({event.job()}); job.ok()) TellCreation(*job);
    }
  }
}

// On the thread that tells of ends as well: while it has not ended here, its end is not told yet.
void Notifier::TellCreation(const v1::Job& job) {
  if (job.ended_ms() > 0) return;
  JobNotice made = Notice(job, "job", job.id());
  made.event = NoticeEvent::kCreated;
  const auto notice = std::make_shared<const JobNotice>(std::move(made));
  for (DeliveryQueue* queue : Wanting(*notice)) {
    queue->Add(notice, [queue, id = job.id()](const absl::Status& how) {
      if (how.ok()) return;
      spdlog::warn("notify {}: that job {} is under way could not be told: {}",
                   queue->channel().name(), id, std::string(how.message()));
    });
  }
}

JobNotice Notifier::Notice(v1::Job job, const std::string& kind, int64_t id) const {
  JobNotice notice;
  notice.key = absl::StrCat("trainyard-", coordinator_id_, "-", kind, "-", id);
  for (v1::Trial& trial : *job.mutable_trials()) trial.clear_epochs();  // may wait for long
  notice.link = LinkTo(job, job_url_);
  notice.job = std::move(job);
  return notice;
}

std::vector<DeliveryQueue*> Notifier::Wanting(const JobNotice& notice) const {
  std::vector<DeliveryQueue*> wanting;
  for (const auto& queue : queues_) {
    if (queue->channel().Wants(notice)) wanting.push_back(queue.get());
  }
  return wanting;
}

}  // namespace trainyard::coordinator
