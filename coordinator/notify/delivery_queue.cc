#include "coordinator/notify/delivery_queue.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace trainyard::coordinator {
namespace {

using std::chrono::milliseconds;

int64_t WallMs() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<milliseconds>(since).count();
}

}  // namespace

DeliveryQueue::DeliveryQueue(std::unique_ptr<Channel> channel, RetryOptions options)
    : channel_(std::move(channel)), options_(options), thread_([this] { Run(); }) {}

DeliveryQueue::~DeliveryQueue() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void DeliveryQueue::Add(std::shared_ptr<const JobNotice> notice, Done done) {
  std::list<Delivery> dropped;
  {
    std::lock_guard lock(mutex_);
    if (notice->event != NoticeEvent::kCreated) {
      std::erase_if(waiting_, [&](const Delivery& other) {
        return other.notice->event == NoticeEvent::kCreated &&
               other.notice->job.id() == notice->job.id();
      });
    }
    if (waiting_.size() >= options_.waiting_max) {
      const auto oldest = std::ranges::min_element(waiting_, {}, &Delivery::deadline);
      dropped.splice(dropped.end(), waiting_, oldest);
    }
    const int64_t age_ms = std::max<int64_t>(0, WallMs() - notice->time_ms());
    const auto now = Clock::now();
    const auto deadline =
        now + milliseconds(std::max<int64_t>(0, options_.give_up_after_ms - age_ms));
    waiting_.push_back({std::move(notice), std::move(done), now, deadline});
    changed_.notify_all();
  }
  for (const Delivery& delivery : dropped) {
    delivery.done(absl::ResourceExhaustedError(
        absl::StrCat("more than ", options_.waiting_max, " others wait")));
  }
}

void DeliveryQueue::Run() {
  while (true) {
    std::list<Delivery> delivery;
    {
      std::unique_lock lock(mutex_);
      while (!stopping_ && delivery.empty()) delivery = TakeDue(lock);
      if (stopping_) return;
    }
    const Outcome outcome =
        channel_->Deliver(*delivery.front().notice, [this] { return stopping_.load(); });
    if (stopping_ && !outcome.status.ok()) return;
    Settle(std::move(delivery), outcome);
  }
}

std::list<DeliveryQueue::Delivery> DeliveryQueue::TakeDue(std::unique_lock<std::mutex>& lock) {
  std::list<Delivery> taken;
  if (waiting_.empty()) {
    changed_.wait(lock);
    return taken;
  }
  const auto next = std::ranges::min_element(waiting_, {}, &Delivery::due);
  const auto due = std::max(next->due, closed_until_);
  if (Clock::now() < due) {
    changed_.wait_until(lock, due);
  } else {
    taken.splice(taken.end(), waiting_, next);
  }
  return taken;
}

void DeliveryQueue::Settle(std::list<Delivery> delivery, const Outcome& outcome) {
  const Done done = delivery.front().done;
  if (absl::IsUnavailable(outcome.status) && Retry(delivery, outcome)) return;
  done(outcome.status);
}

bool DeliveryQueue::Retry(std::list<Delivery>& delivery, const Outcome& outcome) {
  std::lock_guard lock(mutex_);
  Delivery& failed = delivery.front();
  if (Overtaken(*failed.notice)) return true;
  const int doublings = std::min(failed.failures++, 30);
  const auto pause_ms =
      static_cast<double>(std::min(options_.pause_max_ms, options_.pause_ms << doublings));
  std::uniform_real_distribution<> jitter(0.5, 1);
  const auto now = Clock::now();
  failed.due = now + milliseconds(static_cast<int64_t>(pause_ms * jitter(random_)));
  const auto asked = now + milliseconds(outcome.retry_after_ms);
  failed.due = std::max(failed.due, asked);
  if (failed.due > failed.deadline) return false;
  closed_until_ = std::max(closed_until_, asked);
  if (failed.failures == 1) {
    spdlog::warn("notify {}: job {} could not be told of yet and is tried again: {}",
                 channel_->name(), failed.notice->job.id(), std::string(outcome.status.message()));
  }
  waiting_.splice(waiting_.end(), delivery);
  return true;
}

bool DeliveryQueue::Overtaken(const JobNotice& notice) const {
  return notice.event == NoticeEvent::kCreated &&
         std::ranges::any_of(waiting_, [&](const Delivery& other) {
           return other.notice->job.id() == notice.job.id();
         });
}

}  // namespace trainyard::coordinator
