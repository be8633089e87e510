// What others read of the loop: jobs, whether in memory or in the records, and events as they come.
#include "coordinator/convert/api.h"
#include "coordinator/core/step.h"
#include "coordinator/loop.h"

namespace trainyard::coordinator {
namespace {

// Only the newest attempt of a job may wait, and only while the job is in memory.
void SayWhatIsWaitedFor(const core::State& state, const core::Job& job, int64_t now_ms,
                        v1::Job& shown) {
  if (job.trials.empty() || shown.trials().empty()) return;
  for (const core::TrialId id : job.trials) {
    const auto trial = state.trials.find(id);
    if (trial == state.trials.end()) continue;
    const auto attempt = state.attempts.find(trial->second.attempt);
    if (attempt == state.attempts.end()) continue;
    const std::string why = core::WhyWaiting(state, attempt->second, now_ms);
    if (why.empty()) continue;
    for (v1::Trial& row : *shown.mutable_trials()) {
      for (v1::Attempt& one : *row.mutable_attempts()) {
        if (one.id() == attempt->first.value) one.set_waiting_for(Utf8(why));
      }
    }
  }
}

}  // namespace

// ---- Jobs ----

absl::StatusOr<v1::Job> Loop::GetJob(core::JobId id) {
  const std::optional<v1::Job> live = Read([&](const core::State& state) -> std::optional<v1::Job> {
    const auto found = state.jobs.find(id);
    if (found == state.jobs.end()) return std::nullopt;
    v1::Job job = ToProto(state, found->second, JobDetail::kFull);
    SayWhatIsWaitedFor(state, found->second, now_ms(), job);
    return job;
  });
  if (live) return Shown(*live);
  const absl::StatusOr<core::State> ended = records_->LoadJob(id, Records::Detail::kEpochs);
  if (!ended.ok()) return ended.status();
  return ToProto(*ended, ended->jobs.at(id), JobDetail::kFull);
}

absl::StatusOr<std::vector<v1::Job>> Loop::ListJobs(int limit) {
  const absl::StatusOr<std::vector<core::JobId>> ids = records_->Jobs(limit);
  if (!ids.ok()) return ids.status();
  std::map<core::JobId, v1::Job> live;
  Read([&](const core::State& state) {
    for (const core::JobId id : *ids) {
      const auto found = state.jobs.find(id);
      if (found != state.jobs.end()) {
        live.emplace(id, ToProto(state, found->second, JobDetail::kSummary));
      }
    }
  });
  std::vector<v1::Job> jobs;
  for (const core::JobId id : *ids) {
    if (const auto found = live.find(id); found != live.end()) {
      jobs.push_back(Shown(found->second));
      continue;
    }
    const absl::StatusOr<core::State> ended = records_->LoadJob(id, Records::Detail::kSummary);
    if (ended.ok()) {
      jobs.push_back(ToProto(*ended, ended->jobs.at(id), JobDetail::kSummary));
    } else {  // one that cannot be read hides no others
      v1::Job& job = jobs.emplace_back();
      job.set_id(id.value);
      job.set_state(v1::JOB_STATE_FAILED);
      job.set_reason(Utf8(std::string(ended.status().message())));
    }
  }
  return jobs;
}

absl::StatusOr<std::vector<v1::Model>> Loop::ListModels() {
  const absl::StatusOr<std::vector<core::JobId>> ids = records_->JobsWithModel();
  if (!ids.ok()) return ids.status();
  std::vector<v1::Model> models;
  for (const core::JobId id : *ids) {
    const absl::StatusOr<core::State> job = records_->LoadJob(id, Records::Detail::kEpochs);
    if (job.ok()) models.push_back(ToModel(*job, job->jobs.at(id)));
  }
  return models;
}

// While nothing can be recorded, an unfinished job says so instead of standing still without a
// word.
v1::Job Loop::Shown(v1::Job job) const {
  const std::string why = trouble();
  if (!why.empty() && job.ended_ms() == 0) job.set_reason(Utf8(why));
  return job;
}

std::string Loop::trouble() const {
  std::lock_guard lock(queue_mutex_);
  return trouble_;
}

// ---- Events ----

int64_t Loop::last_cursor() const {
  std::lock_guard lock(recent_mutex_);
  return last_cursor_;
}

std::unique_ptr<Watch> Loop::WatchEvents(core::JobId job, int64_t after_cursor,
                                         std::function<void()> on_news) {
  std::unique_ptr<Watch> watch(new Watch(this, job, after_cursor, std::move(on_news)));
  std::lock_guard lock(watches_mutex_);
  watches_.insert(watch.get());
  return watch;
}

Watch::Watch(Loop* loop, core::JobId job, int64_t after_cursor, std::function<void()> on_news)
    : loop_(loop),
      job_(job),
      on_news_(std::move(on_news)),
      known_(after_cursor <= loop->last_cursor()),
      cursor_(after_cursor) {}

Watch::~Watch() {
  std::lock_guard lock(loop_->watches_mutex_);
  loop_->watches_.erase(this);
}

absl::StatusOr<std::vector<v1::Event>> Watch::Take(int max) {
  std::vector<v1::Event> events;
  if (!known_) {
    return absl::OutOfRangeError("there is no event " + std::to_string(cursor_) +
                                 " yet: these are other records; start over from 0");
  }
  int64_t newest = 0;
  {
    std::lock_guard lock(loop_->recent_mutex_);
    newest = loop_->last_cursor_;
    if (cursor_ >= newest) {
      if (loop_->closed_) return absl::UnavailableError("the coordinator is stopping");
      return events;
    }
    // Cursors have no gaps: in memory is either the next event or none that is next.
    const std::deque<v1::Event>& recent = loop_->recent_;
    if (!recent.empty() && recent.front().cursor() <= cursor_ + 1) {
      for (size_t i = static_cast<size_t>(cursor_ + 1 - recent.front().cursor());
           i < recent.size() && static_cast<int>(events.size()) < max; ++i) {
        cursor_ = recent[i].cursor();
        if (!job_ || recent[i].job() == job_.value) events.push_back(recent[i]);
      }
      return events;
    }
  }
  absl::StatusOr<std::vector<v1::Event>> page = loop_->records_->Events(job_, cursor_, max);
  if (!page.ok()) return page.status();
  const bool all = static_cast<int>(page->size()) < max;
  if (!page->empty()) cursor_ = page->back().cursor();
  if (all) cursor_ = std::max(cursor_, newest);
  return page;
}

bool Watch::Wait(std::chrono::milliseconds limit) {
  std::unique_lock lock(loop_->recent_mutex_);
  return loop_->recent_changed_.wait_for(lock, limit, [&] {
    return loop_->last_cursor_ > cursor_ || loop_->closed_;
  }) && loop_->last_cursor_ > cursor_;
}

}  // namespace trainyard::coordinator
