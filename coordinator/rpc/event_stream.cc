#include "coordinator/rpc/event_stream.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/rpc/status.h"

namespace trainyard::coordinator {
namespace {

constexpr int kTakeMax = 128;  // events in memory for one watcher

bool HasEnded(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_BELOW_TARGET ||
         state == v1::JOB_STATE_FAILED || state == v1::JOB_STATE_CANCELLED;
}

}  // namespace

EventPump::EventPump() : thread_([this] { Run(); }) {}

EventPump::~EventPump() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void EventPump::Schedule(std::weak_ptr<EventStream> stream) {
  // Once is enough, so there are never more entries than streams.
  if (const auto alive = stream.lock(); !alive || alive->scheduled_.exchange(true)) return;
  std::lock_guard lock(mutex_);
  waiting_.push_back(std::move(stream));
  changed_.notify_all();
}

void EventPump::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    const std::shared_ptr<EventStream> stream = waiting_.front().lock();
    waiting_.pop_front();
    if (!stream) continue;
    lock.unlock();
    stream->scheduled_ = false;  // before it looks: what comes later schedules it again
    stream->Advance();
    lock.lock();
  }
}

EventStream::EventStream(Options options, Loop* loop, std::atomic<int>* streams)
    : options_(options), loop_(loop), streams_(streams) {}

EventStream* EventStream::Refuse(const absl::Status& why, std::atomic<int>* streams) {
  auto stream = std::shared_ptr<EventStream>(new EventStream({}, nullptr, streams));
  stream->self_ = stream;
  std::lock_guard lock(stream->mutex_);
  stream->FinishLocked(why);
  return stream.get();
}

EventStream* EventStream::Start(const v1::WatchEventsRequest& request, Options options, Loop* loop,
                                EventPump* pump, std::atomic<int>* streams) {
  bool ended = false;
  int64_t ended_by = 0;
  if (request.job() != 0) {
    const auto job = loop->GetJob(core::JobId{request.job()});
    if (!job.ok()) return Refuse(job.status(), streams);
    ended = HasEnded(job->state());
    // The state may be ahead of what was committed: the last events are still to come then.
    ended_by = loop->Read([](const core::State& state) { return state.counters.cursor; });
  }
  auto stream = std::shared_ptr<EventStream>(new EventStream(options, loop, streams));
  stream->self_ = stream;
  stream->one_job_ = request.job() != 0;
  stream->ended_ = ended;
  stream->ended_by_ = ended_by;
  const std::weak_ptr<EventStream> weak = stream;
  auto watch = loop->WatchEvents(core::JobId{request.job()}, request.after_cursor(),
                                 [pump, weak] { pump->Schedule(weak); });
  {
    std::lock_guard lock(stream->mutex_);
    stream->watch_ = std::move(watch);
  }
  pump->Schedule(weak);
  return stream.get();
}

void EventStream::Keep(std::unique_ptr<OpenCalls::Entry> entry) { entry_ = std::move(entry); }

void EventStream::End(const absl::Status& why) {
  std::lock_guard lock(mutex_);
  ending_ = why;
  AdvanceLocked();
}

void EventStream::Advance() {
  std::lock_guard lock(mutex_);
  AdvanceLocked();
}

void EventStream::AdvanceLocked() {
  if (writing_ || finished_ || watch_ == nullptr) return;
  if (ending_) return FinishLocked(*ending_);
  if (taken_.empty()) {
    if (const int64_t lag = loop_->last_cursor() - watch_->cursor();
        live_ && lag > options_.lag_max) {
      FinishLocked(absl::ResourceExhaustedError(absl::StrCat(
          "read too slowly, ", lag, " events behind: go on after cursor ", watch_->cursor())));
      return;
    }
    auto events = watch_->Take(kTakeMax);
    if (!events.ok()) {
      FinishLocked(events.status());
      return;
    }
    taken_.assign(std::make_move_iterator(events->begin()), std::make_move_iterator(events->end()));
  }
  if (!taken_.empty()) {
    writing_ = true;
    StartWrite(&taken_.front());
  } else if (ended_ && watch_->cursor() >= ended_by_) {
    FinishLocked(absl::OkStatus());
  } else {
    live_ = true;
  }
}

void EventStream::Note(const v1::Event& sent) {
  if (one_job_ && sent.kind() == "job_ended") ended_ = true;
}

void EventStream::OnWriteDone(bool ok) {
  std::lock_guard lock(mutex_);
  writing_ = false;
  if (!ok) {
    FinishLocked(absl::CancelledError("the caller has left"));
    return;
  }
  Note(taken_.front());
  taken_.pop_front();
  AdvanceLocked();
}

void EventStream::FinishLocked(const absl::Status& status) {
  if (finished_) return;
  finished_ = true;
  Finish(ToGrpc(status));
}

void EventStream::OnCancel() {
  std::lock_guard lock(mutex_);
  // A write that is on its way fails by itself and finishes the call then.
  if (!writing_) FinishLocked(absl::CancelledError("the caller has left"));
}

void EventStream::OnDone() {
  entry_.reset();  // nobody ends us any more
  std::unique_ptr<Watch> watch;
  std::shared_ptr<EventStream> self;
  {
    std::lock_guard lock(mutex_);
    finished_ = true;
    watch = std::move(watch_);
    self = std::move(self_);
  }
  // Waits for a running on_news; nobody schedules us any more after that.
  watch.reset();
  --*streams_;
}

}  // namespace trainyard::coordinator
