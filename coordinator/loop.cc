#include "coordinator/loop.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <exception>

#include "coordinator/convert/api.h"
#include "coordinator/core/invariants.h"
#include "coordinator/core/step.h"

namespace trainyard::coordinator {
namespace {

class SystemClock : public Clock {
 public:
  int64_t MonotonicMs() override { return Since<std::chrono::steady_clock>(); }
  int64_t WallMs() override { return Since<std::chrono::system_clock>(); }

 private:
  template <typename C>
  static int64_t Since() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(C::now().time_since_epoch())
        .count();
  }
};

// The disk may have room, or be there, again; anything else will not go away by itself.
bool MayPass(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status) ||
         absl::IsPermissionDenied(status);
}

absl::Status Stopped() { return absl::UnavailableError("the coordinator is stopping"); }

}  // namespace

Clock& Clock::System() {
  static SystemClock clock;
  return clock;
}

// What one commit is about.
struct Loop::Batch {
  core::Changes changes;
  std::vector<v1::Event> events;  // changes.history, as people see it
  std::vector<core::Effect> effects;
};

// ---- Life ----

absl::StatusOr<std::unique_ptr<Loop>> Loop::Open(Options options, Records* records,
                                                 Performer* performer) {
  absl::StatusOr<Records::Loaded> loaded = records->Load();
  if (!loaded.ok()) return loaded.status();
  return std::unique_ptr<Loop>(
      new Loop(std::move(options), records, performer, *std::move(loaded)));
}

Loop::Loop(Options options, Records* records, Performer* performer, Records::Loaded loaded)
    : options_(std::move(options)),
      records_(records),
      performer_(performer),
      set_aside_(std::move(loaded.set_aside)),
      state_(std::move(loaded.state)),
      last_cursor_(state_.counters.cursor) {
  state_.settings = options_.settings;
}

Loop::~Loop() { Stop(); }

void Loop::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Loop::Stop() {
  {
    std::lock_guard lock(queue_mutex_);
    stopping_ = true;
    queue_changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  Close(Stopped());
}

void Loop::Close(const absl::Status& why) {
  std::map<core::RequestId, AnswerCallback> asks;
  {
    std::lock_guard lock(queue_mutex_);
    stopping_ = true;
    asks.swap(asks_);
    queue_.clear();
    renewals_.clear();
  }
  for (const auto& [request, done] : asks) done(absl::Status(why.code(), why.message()));
  {
    std::lock_guard lock(recent_mutex_);
    if (closed_) return;
    closed_ = true;
    recent_changed_.notify_all();
  }
  std::lock_guard lock(watches_mutex_);
  for (Watch* watch : watches_) {
    if (watch->on_news_) watch->on_news_();
  }
}

// ---- The queue ----

void Loop::Post(What what) {
  std::lock_guard lock(queue_mutex_);
  Enqueue(std::move(what), /*bounded=*/false).IgnoreError();
}

absl::Status Loop::TryPost(What what) {
  std::lock_guard lock(queue_mutex_);
  return Enqueue(std::move(what), /*bounded=*/true);
}

absl::Status Loop::Enqueue(What what, bool bounded) {
  if (stopping_) return Stopped();
  const auto* renewal = std::get_if<core::LeaseRenewed>(&what);
  const core::WorkerId worker = renewal != nullptr ? renewal->claim.worker : core::WorkerId{};
  if (renewal != nullptr) {
    if (const auto old = renewals_.find(worker); old != renewals_.end()) queue_.erase(old->second);
  } else if (bounded && queue_.size() >= options_.queue_max) {
    return absl::ResourceExhaustedError(
        "too much waits to be handled (" + std::to_string(queue_.size()) + " events, at most " +
        std::to_string(options_.queue_max) + ")" + (trouble_.empty() ? "" : ": " + trouble_));
  }
  newest_ms_ = std::max(newest_ms_, options_.clock->MonotonicMs());
  queue_.push_back(
      {.now_ms = newest_ms_, .wall_ms = options_.clock->WallMs(), .what = std::move(what)});
  if (renewal != nullptr) renewals_[worker] = std::prev(queue_.end());
  queue_changed_.notify_all();
  return absl::OkStatus();
}

core::RequestId Loop::NextRequest() {
  std::lock_guard lock(queue_mutex_);
  return {++last_request_};
}

void Loop::AskAndCall(core::RequestId request, What what, AnswerCallback done) {
  absl::Status refused;
  {
    std::lock_guard lock(queue_mutex_);
    refused = Enqueue(std::move(what), /*bounded=*/true);
    if (refused.ok()) asks_.emplace(request, std::move(done));
  }
  if (!refused.ok()) done(refused);
}

absl::StatusOr<core::Answer> Loop::AskAndWait(core::RequestId request, What what,
                                              std::chrono::milliseconds limit) {
  std::mutex mutex;
  std::condition_variable answered;
  std::optional<absl::StatusOr<core::Answer>> answer;
  AskAndCall(request, std::move(what), [&](absl::StatusOr<core::Answer> got) {
    std::lock_guard lock(mutex);
    answer = std::move(got);
    answered.notify_one();
  });
  {
    std::unique_lock lock(mutex);
    if (answered.wait_for(lock, limit, [&] { return answer.has_value(); })) {
      return *std::move(answer);
    }
  }
  {
    std::lock_guard lock(queue_mutex_);
    if (asks_.erase(request) > 0) {
      if (!trouble_.empty()) return absl::UnavailableError(trouble_);
      return absl::DeadlineExceededError("no answer within " + std::to_string(limit.count()) +
                                         " ms");
    }
  }
  // The answer is on its way just now, and refers to what stands here.
  std::unique_lock lock(mutex);
  answered.wait(lock, [&] { return answer.has_value(); });
  return *std::move(answer);
}

// ---- The loop's thread ----

void Loop::Run() {
  std::vector<core::Event> events{Recovered()};
  while (!events.empty()) {
    Batch batch;
    absl::Status status = StepAll(events, batch);
    if (status.ok() && !batch.changes.empty()) status = Commit(batch);
    if (absl::IsCancelled(status)) return;
    if (!status.ok()) {
      spdlog::critical("the coordinator cannot go on: {}", status.ToString());
      Close(status);
      performer_->LoopBroken(status);
      return;
    }
    Publish(std::move(batch.events));
    PerformAll(batch);
    if (!batch.changes.empty()) {
      std::lock_guard lock(state_mutex_);
      core::Forget(state_);
    }
    events = TakeEvents();
  }
}

core::Event Loop::Recovered() {
  core::CoordinatorRecovered recovered;
  for (const Records::SetAside& record : set_aside_) {
    spdlog::error("a record cannot be read and is set aside: {}", record.cause);
    if (record.job) recovered.unreadable.emplace(record.job, record.cause);
  }
  std::lock_guard lock(queue_mutex_);
  // It comes before whatever was posted before Start.
  const int64_t now_ms = queue_.empty() ? options_.clock->MonotonicMs() : queue_.front().now_ms;
  next_tick_ms_ = now_ms + options_.tick_ms;
  return {.now_ms = now_ms, .wall_ms = options_.clock->WallMs(), .what = std::move(recovered)};
}

std::vector<core::Event> Loop::TakeEvents() {
  std::unique_lock lock(queue_mutex_);
  int64_t now_ms = options_.clock->MonotonicMs();
  while (!stopping_ && queue_.empty() && now_ms < next_tick_ms_) {
    queue_changed_.wait_for(lock, std::chrono::milliseconds(next_tick_ms_ - now_ms));
    now_ms = options_.clock->MonotonicMs();
  }
  if (stopping_) return {};
  if (now_ms >= next_tick_ms_) {
    Enqueue(core::TimePassed{}, /*bounded=*/false).IgnoreError();
    next_tick_ms_ = now_ms + options_.tick_ms;
  }
  std::vector<core::Event> events(std::make_move_iterator(queue_.begin()),
                                  std::make_move_iterator(queue_.end()));
  queue_.clear();
  renewals_.clear();
  return events;
}

absl::Status Loop::StepAll(const std::vector<core::Event>& events, Batch& batch) {
  std::lock_guard lock(state_mutex_);
  for (const core::Event& event : events) {
    if (absl::Status status = StepOne(event, batch); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Loop::StepOne(const core::Event& event, Batch& batch) try {
  std::optional<core::State> before;
  if (options_.check_steps) before = state_;
  core::Result result = core::Step(state_, event);
  if (before && !std::holds_alternative<core::CoordinatorRecovered>(event.what)) {
    for (const std::string& violation : core::CheckDelta(*before, state_, result)) {
      return absl::InternalError("a step broke an invariant: " + violation);
    }
  }
  for (const core::HistoryRow& row : result.changes.history) {
    batch.events.push_back(ToProto(state_, row));
  }
  batch.changes.Add(std::move(result.changes));
  std::move(result.effects.begin(), result.effects.end(), std::back_inserter(batch.effects));
  return absl::OkStatus();
} catch (const std::exception& error) {
  // The state may be half changed: nothing of this batch may be committed.
  return absl::InternalError("a step failed on event " + std::to_string(event.what.index()) + ": " +
                             error.what());
}

absl::Status Loop::Commit(const Batch& batch) {
  int64_t pause_ms = options_.retry_pause_ms;
  for (;;) {
    // Without state_mutex_: nobody else writes, so readers go on while the disk works.
    const absl::Status status = records_->Save(state_, batch.changes, batch.events);
    if (status.ok()) {
      SetTrouble("");
      return status;
    }
    if (!MayPass(status)) return status;
    SetTrouble("nothing can be recorded, trying again: " + std::string(status.message()));
    if (!PauseUnlessStopped(pause_ms)) return absl::CancelledError("stopped");
    pause_ms = std::min(2 * pause_ms, options_.retry_pause_max_ms);
  }
}

void Loop::SetTrouble(const std::string& trouble) {
  std::lock_guard lock(queue_mutex_);
  if (trouble == trouble_) return;
  if (trouble.empty()) {
    spdlog::info("records can be written again");
  } else {
    spdlog::error("{}", trouble);
  }
  trouble_ = trouble;
}

bool Loop::PauseUnlessStopped(int64_t pause_ms) {
  std::unique_lock lock(queue_mutex_);
  queue_changed_.wait_for(lock, std::chrono::milliseconds(pause_ms), [&] { return stopping_; });
  return !stopping_;
}

void Loop::Publish(std::vector<v1::Event> events) {
  if (events.empty()) return;
  std::set<int64_t> jobs;
  for (const v1::Event& event : events) jobs.insert(event.job());
  {
    std::lock_guard lock(recent_mutex_);
    last_cursor_ = events.back().cursor();
    std::move(events.begin(), events.end(), std::back_inserter(recent_));
    while (recent_.size() > options_.recent_max) recent_.pop_front();
    recent_changed_.notify_all();
  }
  std::lock_guard lock(watches_mutex_);
  for (Watch* watch : watches_) {
    const bool concerned = !watch->job_ || jobs.count(watch->job_.value) > 0;
    if (concerned && watch->on_news_) watch->on_news_();
  }
}

void Loop::PerformAll(Batch& batch) {
  for (const core::Effect& effect : batch.effects) {
    if (const auto* answer = std::get_if<core::Answer>(&effect)) {
      if (answer->code == absl::StatusCode::kOk) {
        Deliver(answer->request, *answer);
      } else {
        Deliver(answer->request, absl::Status(answer->code, answer->message));
      }
    } else {
      performer_->Perform(effect, state_);
    }
  }
}

void Loop::Deliver(core::RequestId request, absl::StatusOr<core::Answer> answer) {
  AnswerCallback done;
  {
    std::lock_guard lock(queue_mutex_);
    const auto found = asks_.find(request);
    if (found == asks_.end()) return;  // nobody waits any more
    done = std::move(found->second);
    asks_.erase(found);
  }
  done(std::move(answer));
}

}  // namespace trainyard::coordinator
