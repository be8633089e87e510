// Tells people how jobs end, as the notify file wants it: the effect Notify is handed to every
// channel that it is for, and is confirmed by NoticeSent once each has delivered it or given it up.
// Where commit statuses are to be pending first, it watches for new jobs too.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "coordinator/core/effect.h"
#include "coordinator/loop.h"
#include "coordinator/notify/delivery_queue.h"
#include "coordinator/notify/notify_config.h"
#include "coordinator/work_queue.h"

namespace trainyard::coordinator {

class Notifier {
 public:
  struct Options {
    NotifyConfig config;
    std::string coordinator_id;  // makes keys of notices unique among coordinators
    RetryOptions retry = {};     // give_up_after_ms is the config's
  };

  // The loop has not been started yet, and must outlive this.
  Notifier(Options options, Loop* loop);
  // What is not delivered yet comes again after the next start.
  ~Notifier();

  // On the loop's thread: returns at once.
  void Tell(const core::Notify& effect);

 private:
  struct Open {
    int channels = 0;                   // that have not finished
    std::vector<std::string> troubles;  // of those that gave up
  };

  void TellOf(const core::Notify& effect);
  void WatchCreations();
  void TellCreations();
  void TellCreation(const v1::Job& job);
  JobNotice Notice(v1::Job job, const std::string& kind, int64_t id) const;
  std::vector<DeliveryQueue*> Wanting(const JobNotice& notice) const;
  void Finish(core::NoticeId notice, const DeliveryQueue& queue, core::JobId job,
              const absl::Status& how);

  const std::string coordinator_id_;
  const std::string job_url_;
  Loop* const loop_;

  std::mutex mutex_;
  std::map<core::NoticeId, Open> open_;

  std::vector<std::unique_ptr<DeliveryQueue>> queues_;
  std::unique_ptr<Watch> creations_;  // read by `composing_` alone
  std::unique_ptr<WorkQueue> composing_ = std::make_unique<WorkQueue>();
};

}  // namespace trainyard::coordinator
