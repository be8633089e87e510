// What waits to be delivered by one channel, on a thread of its own: whoever is slow or away holds
// up nobody else. What fails is tried again after growing pauses, until it is too old.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

#include "absl/status/status.h"
#include "coordinator/notify/channel.h"

namespace trainyard::coordinator {

struct RetryOptions {
  int64_t give_up_after_ms = 24 * 3'600'000;  // since what is told happened; one try it always gets
  int64_t pause_ms = 1'000;                   // after the first failure; doubles each time
  int64_t pause_max_ms = 300'000;
  size_t waiting_max = 1'000;  // one more, and the oldest is given up
};

class DeliveryQueue {
 public:
  // OK once it is delivered, else why it was given up.
  using Done = std::function<void(const absl::Status&)>;

  DeliveryQueue(std::unique_ptr<Channel> channel, RetryOptions options);
  // Breaks off what is under way. What was not done is not called back.
  ~DeliveryQueue();

  // `done` is called on the queue's thread or on this one. A job's end takes the place of its
  // creation where that still waits: the older news must not come last.
  void Add(std::shared_ptr<const JobNotice> notice, Done done);
  const Channel& channel() const { return *channel_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Delivery {
    std::shared_ptr<const JobNotice> notice;
    Done done;
    Clock::time_point due, deadline;
    int failures = 0;
  };

  void Run();
  // With the mutex held: the next one whose time has come, or nothing after waiting for it.
  std::list<Delivery> TakeDue(std::unique_lock<std::mutex>& lock);
  void Settle(std::list<Delivery> delivery, const Outcome& outcome);
  // Puts it back to be tried again, or drops it where its job's end came meanwhile; false: there is
  // no time left.
  bool Retry(std::list<Delivery>& delivery, const Outcome& outcome);
  bool Overtaken(const JobNotice& notice) const;

  const std::unique_ptr<Channel> channel_;
  const RetryOptions options_;
  std::atomic<bool> stopping_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Delivery> waiting_;          // in the order in which they came
  Clock::time_point closed_until_ = {};  // the receiver has asked us to wait
  std::minstd_rand random_{std::random_device{}()};
  std::thread thread_;
};

}  // namespace trainyard::coordinator
