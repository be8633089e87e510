#include "cli/follow.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "cli/event_line.h"

namespace trainyard::cli {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kTick{200};
constexpr milliseconds kFirstPause{250};
constexpr milliseconds kLongestPause{2'000};
constexpr size_t kMaxWaiting = 256;  // events read and not yet handled; more wait in the connection

// One WatchEvents stream, read on its own thread so that the caller can do other things meanwhile.
class EventStream {
 public:
  EventStream(Client& client, int64_t job, int64_t after_cursor) {
    request_.set_job(job);
    request_.set_after_cursor(after_cursor);
    thread_ = std::thread([this, &client] { Read(client); });
  }
  ~EventStream() {
    {
      std::lock_guard lock(mutex_);
      closing_ = true;
    }
    context_.TryCancel();
    changed_.notify_all();
    thread_.join();
  }

  // The next event; none when `wait` passes without one, or after the end.
  std::optional<v1::Event> Next(milliseconds wait) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, wait, [this] { return !waiting_.empty() || ended_; });
    if (waiting_.empty()) return std::nullopt;
    v1::Event event = std::move(waiting_.front());
    waiting_.pop_front();
    changed_.notify_all();
    return event;
  }

  // How the stream ended, once all its events have been taken.
  std::optional<grpc::Status> End() {
    std::lock_guard lock(mutex_);
    if (!ended_ || !waiting_.empty()) return std::nullopt;
    return status_;
  }

 private:
  void Read(Client& client) {
    const auto reader = client.stub().WatchEvents(&context_, request_);
    v1::Event event;
    while (reader->Read(&event)) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return waiting_.size() < kMaxWaiting || closing_; });
      if (closing_) break;
      waiting_.push_back(std::move(event));
      changed_.notify_all();
    }
    const grpc::Status status = reader->Finish();
    std::lock_guard lock(mutex_);
    status_ = status;
    ended_ = true;
    changed_.notify_all();
  }

  grpc::ClientContext context_;
  v1::WatchEventsRequest request_;
  std::thread thread_;

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::deque<v1::Event> waiting_;
  bool closing_ = false;
  bool ended_ = false;
  grpc::Status status_;
};

// Whether the same request may succeed later.
bool MayPass(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::UNIMPLEMENTED:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::OUT_OF_RANGE:
    case grpc::StatusCode::DATA_LOSS:
      return false;
    default:
      return true;
  }
}

class Follower {
 public:
  Follower(Client& client, const FollowOptions& options, const FollowCallbacks& callbacks)
      : client_(client), options_(options), callbacks_(callbacks) {}

  absl::Status Run() {
    for (;;) {
      const std::optional<absl::Status> result = OneStream();
      if (result) return *result;
    }
  }

 private:
  // Follows one stream to its end, and pauses before the next. A value: all is over.
  std::optional<absl::Status> OneStream() {
    client_.RenewIfBroken();
    EventStream stream(client_, options_.job, cursor_);
    bool progress = false;
    for (;;) {
      if (auto stop = CheckStop()) return stop;
      if (const std::optional<v1::Event> event = stream.Next(kTick)) {
        progress = true;
        Answered();
        if (event->cursor() <= cursor_) continue;  // seen before the cut
        cursor_ = event->cursor();
        if (options_.job != 0 && event->kind() == "job_ended") job_ended_ = true;
        if (!callbacks_.on_event(*event)) return absl::OkStatus();
        continue;
      }
      const std::optional<grpc::Status> end = stream.End();
      if (end) return Ended(*end, progress);
      // A quiet stream is no lost one: the connection itself is watched by keep-alive.
      if (lost_ && client_.Connected()) Answered();
    }
  }

  std::optional<absl::Status> Ended(const grpc::Status& status, bool progress) {
    if (status.ok() && (job_ended_ || JobIsOver())) return absl::OkStatus();
    if (!status.ok() && !MayPass(status.error_code())) return client_.Explain(status);
    if (progress) failures_ = 0;
    // Too slow for the live stream: go on from the last cursor at once, as long as that gets us
    // further.
    if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
      if (progress) return std::nullopt;
      if (++failures_ >= 3) return client_.Explain(status);
    }
    const absl::Status why =
        status.ok() ? absl::UnavailableError("the coordinator ended the stream of events")
                    : client_.Explain(status);
    if (!lost_) lost_since_ = Clock::now();
    if (Clock::now() - lost_since_ >= options_.reconnect_for) return why;
    lost_ = true;
    callbacks_.on_lost(why, pause_);
    const auto until = Clock::now() + pause_;
    pause_ = std::min(pause_ * 2, kLongestPause);
    while (Clock::now() < until) {
      if (auto stop = CheckStop()) return stop;
      std::this_thread::sleep_for(std::min<Clock::duration>(kTick, until - Clock::now()));
    }
    return std::nullopt;
  }

  // A coordinator that stops also ends its streams; only the job's state tells the two apart.
  bool JobIsOver() {
    if (options_.job == 0) return false;
    v1::GetJobRequest request;
    request.set_job(options_.job);
    const auto job = client_.Call(&v1::Trainyard::Stub::GetJob, request, milliseconds(10'000));
    return job.ok() && IsOver(job->state());
  }

  std::optional<absl::Status> CheckStop() {
    if (options_.deadline && Clock::now() >= *options_.deadline)
      return absl::DeadlineExceededError("time is over");
    if (!callbacks_.on_tick()) return absl::OkStatus();
    return std::nullopt;
  }

  void Answered() {
    pause_ = kFirstPause;
    if (lost_) {
      lost_ = false;
      callbacks_.on_back();
    }
  }

  Client& client_;
  const FollowOptions& options_;
  const FollowCallbacks& callbacks_;
  int64_t cursor_ = 0;
  bool job_ended_ = false;
  bool lost_ = false;
  int failures_ = 0;  // in a row, of streams that brought nothing
  milliseconds pause_ = kFirstPause;
  Clock::time_point lost_since_;  // while lost_
};

}  // namespace

absl::Status Follow(Client& client, const FollowOptions& options,
                    const FollowCallbacks& callbacks) {
  return Follower(client, options, callbacks).Run();
}

}  // namespace trainyard::cli
