// One thread decides: it takes all waiting events, steps them, commits what changed in one
// transaction, and only then has the effects performed.
//
// Everybody else posts events and reads. Event times are taken when an event is posted, so that
// what waited while the disk was full is not judged late.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/effect.h"
#include "coordinator/core/event.h"
#include "coordinator/core/state.h"
#include "coordinator/store/records.h"
#include "trainyard/v1/resources.pb.h"

namespace trainyard::coordinator {

// Carries effects out. Called on the loop's thread, in order, after their step is committed: must
// not block, must not throw, and may call Loop::Post. Performing one twice must be harmless.
class Performer {
 public:
  virtual ~Performer() = default;
  // Any effect but Answer, which the loop delivers itself. `state` is as of the end of the batch.
  virtual void Perform(const core::Effect& effect, const core::State& state) = 0;
  // The loop has ended by itself because it could not go on (a broken invariant that concerns more
  // than one job, records that cannot be written although the disk has room). The process should
  // end.
  virtual void LoopBroken(const absl::Status& why) = 0;
};

// Where times come from. Monotonic time decides, wall time is shown to people.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t MonotonicMs() = 0;
  virtual int64_t WallMs() = 0;  // since 1970
  static Clock& System();
};

class Watch;

class Loop {
 public:
  // What happened, without its time.
  using What = decltype(core::Event::what);

  struct Options {
    core::Settings settings;
    Clock* clock = &Clock::System();
    int64_t tick_ms = 200;         // between two TimePassed; core wants 500 at most
    size_t queue_max = 4096;       // events that TryPost and Ask let wait
    int64_t retry_pause_ms = 250;  // after a failed commit; doubles each time
    int64_t retry_pause_max_ms = 5'000;
    size_t recent_max = 1024;  // events kept in memory for those who watch live
    bool check_steps = false;  // core::CheckDelta after each step; copies the state each time
  };

  // Loads the state. `records` and `performer` must outlive the loop.
  static absl::StatusOr<std::unique_ptr<Loop>> Open(Options options, Records* records,
                                                    Performer* performer);
  // Stops.
  ~Loop();

  // Starts the thread; its first step is CoordinatorRecovered.
  void Start();
  // Commits what was taken already, drops what still waits and ends the thread. Asks that wait get
  // UNAVAILABLE. To end workers first, post ShutdownRequested and wait for the effect Quit.
  void Stop();

  // ---- Events. From any thread. ----

  // For what the coordinator itself has seen or done: exits, launches, confirmations, pushes. Never
  // refused: there are only as many as there are processes and effects.
  void Post(What what);
  // For what comes from outside: RESOURCE_EXHAUSTED while too much waits already, UNAVAILABLE once
  // stopped. A renewal replaces the one of the same worker that still waits and is never refused.
  absl::Status TryPost(What what);

  // Posts an event that carries a `request` and waits for its answer. An answer that is no success
  // comes back as its status; DEADLINE_EXCEEDED or, while records cannot be written, UNAVAILABLE
  // with the reason after `limit`: the event may still take effect. Not on the loop's thread.
  template <typename Asked>
  requires requires(Asked what) { what.request = core::RequestId{}; }
  absl::StatusOr<core::Answer> Ask(Asked what, std::chrono::milliseconds limit) {
    what.request = NextRequest();
    const core::RequestId request = what.request;
    return AskAndWait(request, What(std::move(what)), limit);
  }

  using AnswerCallback = std::function<void(absl::StatusOr<core::Answer>)>;
  // The same without waiting: `done` is called exactly once, on the loop's thread or, where the
  // event is refused or the loop stops, on the caller's or stopper's. It must not block.
  template <typename Asked>
  requires requires(Asked what) { what.request = core::RequestId{}; }
  void AskAsync(Asked what, AnswerCallback done) {
    what.request = NextRequest();
    const core::RequestId request = what.request;
    AskAndCall(request, What(std::move(what)), std::move(done));
  }

  // ---- Reading. From any thread but inside Perform. ----

  // Calls `reader` with the state between two batches, and keeps the loop from stepping meanwhile:
  // copy out what is needed and return. While records cannot be written, the state may be ahead of
  // them.
  template <typename Reader>
  auto Read(Reader&& reader) const {
    std::lock_guard lock(state_mutex_);
    return std::forward<Reader>(reader)(state_);
  }

  // A job, whether it runs or ended long ago, with trials, attempts and epochs. NOT_FOUND.
  absl::StatusOr<v1::Job> GetJob(core::JobId job);
  // Newest first, without epochs and spec.
  absl::StatusOr<std::vector<v1::Job>> ListJobs(int limit);
  // Published models, oldest first.
  absl::StatusOr<std::vector<v1::Model>> ListModels();

  // Events after the cursor (0: from the beginning), of one job or (no job) of everything.
  // `on_news` is called on the loop's thread whenever there may be more to take: it must not block,
  // nor create or destroy a Watch. May be empty, for those who Wait.
  std::unique_ptr<Watch> WatchEvents(core::JobId job, int64_t after_cursor,
                                     std::function<void()> on_news);

  // As events are timed.
  int64_t now_ms() const { return options_.clock->MonotonicMs(); }
  // The cursor of the newest committed event.
  int64_t last_cursor() const;
  // Why nothing can be committed just now, for people; empty: all is well.
  std::string trouble() const;
  // What could not be read at the start; its jobs were given up.
  const std::vector<Records::SetAside>& set_aside() const { return set_aside_; }

 private:
  friend class Watch;
  struct Batch;

  Loop(Options options, Records* records, Performer* performer, Records::Loaded loaded);

  core::RequestId NextRequest();
  absl::StatusOr<core::Answer> AskAndWait(core::RequestId request, What what,
                                          std::chrono::milliseconds limit);
  void AskAndCall(core::RequestId request, What what, AnswerCallback done);
  // With queue_mutex_ held.
  absl::Status Enqueue(What what, bool bounded);

  void Run();
  core::Event Recovered();
  std::vector<core::Event> TakeEvents();
  absl::Status StepAll(const std::vector<core::Event>& events, Batch& batch);
  absl::Status StepOne(const core::Event& event, Batch& batch);
  // Until it is committed. CANCELLED when the loop is stopped meanwhile.
  absl::Status Commit(const Batch& batch);
  void Publish(std::vector<v1::Event> events);
  void PerformAll(Batch& batch);
  // An answer is handed over, never shared between threads.
  void Deliver(core::RequestId request, absl::StatusOr<core::Answer> answer);
  // Nothing is taken, answered or published any more.
  void Close(const absl::Status& why);
  void SetTrouble(const std::string& trouble);
  bool PauseUnlessStopped(int64_t pause_ms);
  v1::Job Shown(v1::Job job) const;

  // Constant after construction.
  const Options options_;
  Records* const records_;
  Performer* const performer_;
  const std::vector<Records::SetAside> set_aside_;

  // Only the loop's thread writes, under the mutex; so it may read without.
  mutable std::mutex state_mutex_;
  core::State state_;

  mutable std::mutex queue_mutex_;
  std::condition_variable queue_changed_;
  std::list<core::Event> queue_;
  std::map<core::WorkerId, std::list<core::Event>::iterator> renewals_;  // those in queue_
  int64_t newest_ms_ = 0;  // of all events: time never goes back
  int64_t next_tick_ms_ = 0;
  int64_t last_request_ = 0;
  bool stopping_ = false;
  std::string trouble_;
  std::map<core::RequestId, AnswerCallback> asks_;

  // What watchers read: the newest committed events, without a gap.
  mutable std::mutex recent_mutex_;
  std::condition_variable recent_changed_;
  std::deque<v1::Event> recent_;
  int64_t last_cursor_ = 0;
  bool closed_ = false;

  // Held while callbacks run, so that a Watch that is gone is called no more.
  std::mutex watches_mutex_;
  std::set<Watch*> watches_;

  std::thread thread_;
};

// A place in the history that moves forward: every event once, in order, without a gap. It holds a
// cursor and no events, so one that is read slowly costs nothing. For one thread at a time; must
// not outlive its Loop.
class Watch {
 public:
  // After this returns, on_news is not called any more.
  ~Watch();

  // The next events, at most `max`; empty: none yet. Never blocks for news. UNAVAILABLE once the
  // loop stopped and all is taken; OUT_OF_RANGE if the cursor is none of these records (start over
  // from 0).
  absl::StatusOr<std::vector<v1::Event>> Take(int max);
  // Waits until Take may have something (true), or `limit` is over or the loop stopped (false).
  bool Wait(std::chrono::milliseconds limit);
  int64_t cursor() const { return cursor_; }

 private:
  friend class Loop;
  Watch(Loop* loop, core::JobId job, int64_t after_cursor, std::function<void()> on_news);

  Loop* const loop_;
  const core::JobId job_;
  const std::function<void()> on_news_;
  bool known_;      // the cursor it began at was one of these records
  int64_t cursor_;  // everything up to here was taken or is of no interest
};

}  // namespace trainyard::coordinator
