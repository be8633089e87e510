// WatchEvents: history first, then live, without a gap; one message in flight for each watcher, so
// that one who reads slowly costs no memory.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "absl/status/status.h"
#include "coordinator/access/open_calls.h"
#include "coordinator/loop.h"
#include "trainyard/v1/client.grpc.pb.h"

namespace trainyard::coordinator {

class EventStream;

// A thread that moves streams on when there is news: the loop's own thread must not wait for
// history to be read.
class EventPump {
 public:
  EventPump();
  ~EventPump();
  void Schedule(std::weak_ptr<EventStream> stream);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::weak_ptr<EventStream>> waiting_;
  bool stopping_ = false;
  std::thread thread_;
};

class EventStream final : public grpc::ServerWriteReactor<v1::Event>,
                          public std::enable_shared_from_this<EventStream> {
 public:
  struct Options {
    int64_t lag_max = 20'000;  // events that a watcher, once live, may be behind
  };
  // Begins to send; keeps itself alive until the call is over. `streams` is counted down then.
  static EventStream* Start(const v1::WatchEventsRequest& request, Options options, Loop* loop,
                            EventPump* pump, std::atomic<int>* streams);
  // Ends a call before it begins.
  static EventStream* Refuse(const absl::Status& why, std::atomic<int>* streams);

  // Held until the call is over.
  void Keep(std::unique_ptr<OpenCalls::Entry> entry);
  // Ends the call, whatever is still to come. From any thread.
  void End(const absl::Status& why);

  // Sends the next event, unless one is on its way.
  void Advance();

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  friend class EventPump;
  EventStream(Options options, Loop* loop, std::atomic<int>* streams);
  // With mutex_ held.
  void AdvanceLocked();
  void FinishLocked(const absl::Status& status);
  void Note(const v1::Event& sent);

  const Options options_;
  Loop* const loop_;
  std::atomic<int>* const streams_;
  std::shared_ptr<EventStream> self_;
  std::unique_ptr<OpenCalls::Entry> entry_;
  std::atomic<bool> scheduled_{false};

  std::mutex mutex_;
  std::unique_ptr<Watch> watch_;
  std::deque<v1::Event> taken_;  // the front one is on its way while writing_
  bool writing_ = false;
  bool finished_ = false;
  std::optional<absl::Status> ending_;  // once the event on its way is sent
  bool live_ = false;                   // has caught up once
  bool one_job_ = false;
  bool ended_ = false;    // the watched job has ended: what is there still is all there will be
  int64_t ended_by_ = 0;  // the cursor by which it had, which may not be published yet
};

}  // namespace trainyard::coordinator
