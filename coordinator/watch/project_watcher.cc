#include "coordinator/watch/project_watcher.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "coordinator/source/repository_key.h"

namespace trainyard::coordinator {
namespace {

// Errors that do not pass by themselves: the push is refused. Others are tried again.
bool IsFinal(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
      return false;
    default:
      return true;
  }
}

constexpr auto kRetryPause = std::chrono::seconds(2);
// Where polls are further apart: an error may pass, and a hint may have been faster than the
// repository's own servers are with one another.
constexpr int64_t kSecondLookMs = 30'000;

}  // namespace

bool IsLocal(std::string_view url) {
  if (url.starts_with("file://") || url.starts_with("/") || url.starts_with(".")) return true;
  const size_t colon = url.find(':');
  return colon == std::string_view::npos;  // neither scheme nor host
}

ProjectWatcher::ProjectWatcher(WatcherOptions options, Loop* loop, SourcePreparer* preparer)
    : options_(options), loop_(loop), preparer_(preparer) {
  planner_ = std::thread([this] { Plan(); });
  for (int i = 0; i < options_.threads; ++i) workers_.emplace_back([this] { Work(); });
}

ProjectWatcher::~ProjectWatcher() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  planner_.join();
  for (std::thread& worker : workers_) worker.join();
}

void ProjectWatcher::Prepare(const core::PrepareSource& effect, const core::Project& project) {
  std::lock_guard lock(mutex_);
  if (!preparing_.insert(effect.push).second) return;
  pushes_.push_back({effect, project.url});
  changed_.notify_all();
}

void ProjectWatcher::Poke(const std::vector<core::ProjectId>& projects, const std::string& by) {
  std::lock_guard lock(mutex_);
  for (const core::ProjectId id : projects) {
    Polled& polled = polled_[id];
    polled.next = Steady::now();
    polled.again = polled.under_way;
    polled.poked_by = by;
  }
  changed_.notify_all();
}

int ProjectWatcher::Poke(std::string_view name_or_url) {
  const std::string key = RepositoryKey(name_or_url);
  const auto projects = loop_->Read([&](const core::State& state) {
    std::vector<core::ProjectId> found;
    for (const auto& [id, project] : state.projects) {
      if (!project.removed && (project.name == name_or_url || RepositoryKey(project.url) == key)) {
        found.push_back(id);
      }
    }
    return found;
  });
  Poke(projects, "call");
  return static_cast<int>(projects.size());
}

std::string ProjectWatcher::ErrorOf(core::ProjectId project) const {
  std::lock_guard lock(mutex_);
  const auto found = polled_.find(project);
  return found == polled_.end() ? "" : found->second.error;
}

ProjectWatcher::Seen ProjectWatcher::LastSeen(core::ProjectId project) const {
  std::lock_guard lock(mutex_);
  const auto found = polled_.find(project);
  return found == polled_.end() ? Seen() : found->second.seen;
}

int64_t ProjectWatcher::IntervalOf(const std::string& url) const {
  return IsLocal(url) ? options_.poll_local_ms : options_.poll_remote_ms;
}

void ProjectWatcher::Plan() {
  while (true) {
    const auto projects = loop_->Read([](const core::State& state) {
      std::set<core::ProjectId> watched;
      for (const auto& [id, project] : state.projects) {
        if (!project.removed) watched.insert(id);
      }
      return watched;
    });
    std::unique_lock lock(mutex_);
    if (stopping_) return;
    std::erase_if(polled_, [&](const auto& entry) {
      return !projects.contains(entry.first) && !entry.second.under_way;
    });
    const auto now = Steady::now();
    // New projects are looked for as often as local ones are polled.
    auto next = now + std::chrono::milliseconds(options_.poll_local_ms);
    for (const core::ProjectId id : projects) {
      Polled& polled = polled_[id];  // a new one is due at once
      if (polled.under_way) continue;
      if (polled.next <= now) {
        polled.under_way = true;
        polls_.push_back(id);
        changed_.notify_all();
      } else {
        next = std::min(next, polled.next);
      }
    }
    changed_.wait_until(lock, next);
    if (stopping_) return;
  }
}

void ProjectWatcher::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !polls_.empty() || !pushes_.empty(); });
    if (stopping_) return;
    if (!pushes_.empty()) {
      const Push push = std::move(pushes_.front());
      pushes_.pop_front();
      lock.unlock();
      PrepareNow(push);
      lock.lock();
    } else {
      const core::ProjectId project = polls_.front();
      polls_.pop_front();
      lock.unlock();
      Poll(project);
      lock.lock();
    }
  }
}

std::string ProjectWatcher::TakePoke(core::ProjectId id) {
  std::lock_guard lock(mutex_);
  return std::exchange(polled_[id].poked_by, "");
}

void ProjectWatcher::SetSeen(core::ProjectId id, const std::string& by) {
  std::lock_guard lock(mutex_);
  polled_[id].seen = {Clock::System().WallMs(), by};
}

void ProjectWatcher::Poll(core::ProjectId id) {
  std::string by = TakePoke(id);
  const auto project = loop_->Read([&](const core::State& state) -> std::optional<core::Project> {
    const auto found = state.projects.find(id);
    if (found == state.projects.end() || found->second.removed) return std::nullopt;
    return found->second;
  });
  std::string error;
  bool look_again = !by.empty();
  int64_t interval_ms = options_.poll_remote_ms;
  if (project) {
    interval_ms = IntervalOf(project->url);
    const auto tip = preparer_->Tip(project->url, project->branch);
    if (!tip.ok()) {
      error = std::string(tip.status().message());
      look_again = true;
    } else if (*tip != project->last_commit) {
      look_again = false;
      if (by.empty()) by = "poll";
      spdlog::info("project {}: commit {} seen ({})", project->name, *tip, by);
      SetSeen(id, by);
      loop_->Post(core::PushSeen{id, *tip});
    }
  }
  if (look_again) interval_ms = std::min(interval_ms, kSecondLookMs);
  std::lock_guard lock(mutex_);
  Polled& polled = polled_[id];
  if (polled.error != error) {
    if (!error.empty()) spdlog::warn("project {}: {}", project->name, error);
    if (error.empty() && project) spdlog::info("project {}: reachable again", project->name);
  }
  polled.error = std::move(error);
  polled.under_way = false;
  polled.next = Steady::now();
  if (!std::exchange(polled.again, false)) polled.next += std::chrono::milliseconds(interval_ms);
  changed_.notify_all();
}

void ProjectWatcher::PrepareNow(const Push& push) {
  auto request = preparer_->FromRepository(push.url, push.effect.commit, {});
  if (!request.ok() && !IsFinal(request.status())) {
    spdlog::warn("commit {} of {} cannot be taken up yet: {}", push.effect.commit, push.url,
                 std::string(request.status().message()));
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kRetryPause, [this] { return stopping_; });
    if (!stopping_) pushes_.push_back(push);
    changed_.notify_all();
    return;
  }
  if (request.ok()) {
    loop_->Post(core::SourcePrepared{push.effect.push, *std::move(request)});
  } else {
    loop_->Post(core::SourceRefused{push.effect.push, std::string(request.status().message())});
  }
  std::lock_guard lock(mutex_);
  preparing_.erase(push.effect.push);
}

}  // namespace trainyard::coordinator
