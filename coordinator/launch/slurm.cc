#include "coordinator/launch/slurm.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace trainyard::coordinator {
namespace {

// How long an end that was noted waits for the controller to say why it came.
constexpr auto kAnswerPatience = std::chrono::seconds(5);
// How long an end that the controller tells of waits for the note of the job itself.
constexpr auto kNotePatience = std::chrono::seconds(1);
// The same where the controller forgot the job: it ends forgotten jobs, but only once it hears of
// them from their node.
constexpr auto kForgottenPatience = std::chrono::seconds(60);
// How many jobs a look of the usual rhythm is made for; more of them are looked at more rarely.
constexpr size_t kJobsPerLook = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<SlurmLauncher>> SlurmLauncher::Open(SlurmPoolOptions options,
                                                                   LaunchListener listener) {
  const absl::Status sound = CheckSlurmPool(options.name, options.coordinator_id, options.pool);
  if (!sound.ok()) return sound;
  const int cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (cancel_fd < 0) {
    return absl::UnavailableError(absl::StrCat("cannot make an eventfd: ", strerror(errno)));
  }
  auto launcher = std::unique_ptr<SlurmLauncher>(
      new SlurmLauncher(std::move(options), std::move(listener), cancel_fd));
  launcher->watching_ = std::thread([pool = launcher.get()] { pool->Watch(); });
  launcher->asking_ = std::thread([pool = launcher.get()] { pool->Ask(); });
  return launcher;
}

SlurmLauncher::SlurmLauncher(SlurmPoolOptions options, LaunchListener listener, int cancel_fd)
    : options_(std::move(options)),
      listener_(std::move(listener)),
      cancel_fd_(cancel_fd),
      owner_(SlurmOwner(options_.coordinator_id, options_.name)),
      client_(options_.pool, options_.command_timeout_ms, cancel_fd),
      coordinator_(options_.coordinator) {}

SlurmLauncher::~SlurmLauncher() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(cancel_fd_, &one, sizeof(one));
  watch_.notify_all();
  ask_.notify_all();
  if (watching_.joinable()) watching_.join();
  if (asking_.joinable()) asking_.join();
  close(cancel_fd_);
}

void SlurmLauncher::SetCoordinator(std::string address) {
  std::lock_guard lock(mutex_);
  coordinator_ = std::move(address);
}

SlurmFolder SlurmLauncher::FolderOf(int64_t launch) const {
  return SlurmFolder(absl::StrCat(options_.pool.folder, "/", options_.coordinator_id, "/",
                                  options_.name, "-", launch));
}

std::string SlurmLauncher::LogPath(int64_t launch) const { return FolderOf(launch).log(); }

absl::StatusOr<LaunchHandle> SlurmLauncher::Launch(const LaunchOrder& order) {
  {
    std::lock_guard lock(mutex_);
    if (const auto known = watched_.find(order.launch); known != watched_.end()) {
      return absl::StrCat(known->second.job);
    }
    if (!reachable_) return absl::UnavailableError(unreachable_why_);
    launching_.insert(order.launch);
  }
  const auto job = Submit(order.launch);
  std::lock_guard lock(mutex_);
  launching_.erase(order.launch);
  if (job.ok()) {
    WatchLocked(order.launch, *job);
    return absl::StrCat(*job);
  }
  // It may have been submitted all the same; then it is found as a stray.
  constexpr int kSweepsForDoubt = 30;
  sweeps_ = std::max(sweeps_, kSweepsForDoubt);
  WakeAsking();
  return job.status();
}

absl::StatusOr<int64_t> SlurmLauncher::Submit(int64_t launch) {
  const SlurmFolder folder = FolderOf(launch);
  const auto made = folder.Make();
  if (!made.ok()) return made.status();
  if (!*made) {
    const auto found = FindSubmitted(launch, folder);
    if (!found.ok()) return found.status();
    if (*found) return **found;
  }
  SlurmJobPlan plan{.pool = options_.name,
                    .launch = launch,
                    .coordinator_id = options_.coordinator_id,
                    .folder = folder.path(),
                    .private_urls = options_.private_urls};
  {
    std::lock_guard lock(mutex_);
    plan.coordinator = coordinator_;
  }
  if (options_.access) {
    const auto files = options_.access(launch);
    if (!files.ok()) return files.status();
    plan.access = !files->empty();
    if (plan.access) {
      if (const auto status = folder.WriteAccess(*files); !status.ok()) return status;
    }
  }
  if (const auto status = folder.WriteScript(SlurmScript(plan, options_.pool)); !status.ok()) {
    return status;
  }
  const auto job = client_.Submit(plan, folder.script());
  NoteReach(job.status());
  if (!job.ok()) {
    folder.DropAccess();
    return job.status();
  }
  // Without this note the job is still found, through its comment.
  [[maybe_unused]] const absl::Status noted = folder.NoteJob(*job);
  return *job;
}

// The job that another coordinator submitted for this launch, if it came to that.
absl::StatusOr<std::optional<int64_t>> SlurmLauncher::FindSubmitted(int64_t launch,
                                                                    const SlurmFolder& folder) {
  if (const auto noted = folder.ReadJob()) return noted;
  if (const int64_t started = folder.ReadNotes().started_job; started != 0) return started;
  const auto jobs = client_.List();
  NoteReach(jobs.status());
  if (!jobs.ok()) return jobs.status();
  for (const SlurmJob& job : *jobs) {
    if (LaunchOfComment(job.comment, owner_) == launch && !job.over()) return job.id;
  }
  return std::optional<int64_t>();
}

absl::Status SlurmLauncher::Adopt(const LaunchOrder& order, const LaunchHandle& handle) {
  const int64_t launch = order.launch;
  {
    std::lock_guard lock(mutex_);
    if (watched_.contains(launch)) return absl::OkStatus();
  }
  const SlurmFolder folder = FolderOf(launch);
  int64_t job = 0;
  if (!absl::SimpleAtoi(handle, &job)) job = folder.ReadJob().value_or(0);
  const auto unknown = absl::NotFoundError(
      absl::StrCat("pool ", options_.name, ": no job of launch ", launch, " (", handle, ")"));
  if (job <= 0) return unknown;
  std::optional<SlurmJob> answer;
  if (!folder.ReadNotes().status) {
    const auto shown = client_.Show(job);
    NoteReach(shown.status());
    // A controller may have begun to count anew: then this number is another one's job now.
    const bool known = shown.ok() && *shown && LaunchOfComment((*shown)->comment, owner_) == launch;
    if (shown.ok() && !known) {
      if (folder.ReadJob() != job) return unknown;
      const auto past = client_.Account(job);
      if (!past.ok() || !*past) return unknown;
      answer = *past;
    }
  }
  std::lock_guard lock(mutex_);
  WatchLocked(launch, job, std::move(answer));
  return absl::OkStatus();
}

void SlurmLauncher::WatchLocked(int64_t launch, int64_t job, std::optional<SlurmJob> answer) {
  Watched watched{.job = job, .folder = FolderOf(launch), .since = listings_};
  if (answer) watched.over_since = Clock::now();
  watched.answer = std::move(answer);
  watched_.emplace(launch, std::move(watched));
  news_ = true;
  watch_.notify_one();
  WakeAsking();
}

void SlurmLauncher::Stop(int64_t launch, int64_t grace_ms) {
  std::lock_guard lock(mutex_);
  const auto found = watched_.find(launch);
  if (found == watched_.end()) return;
  Watched& watched = found->second;
  const auto kill_at = Clock::now() + std::chrono::milliseconds(std::max<int64_t>(grace_ms, 0));
  watched.kill_at = watched.kill_at ? std::min(*watched.kill_at, kill_at) : kill_at;
  watched.stop_wanted = true;
  if (watched.ended_by_us.empty()) watched.ended_by_us = "stopped by the coordinator";
  news_ = true;
  watch_.notify_one();
  WakeAsking();
}

void SlurmLauncher::Kill(int64_t launch) {
  std::lock_guard lock(mutex_);
  const auto found = watched_.find(launch);
  if (found != watched_.end()) WantKillLocked(found->second, "killed by the coordinator");
}

void SlurmLauncher::WantKillLocked(Watched& watched, std::string why) {
  watched.kill_at.reset();
  if (watched.kill_wanted) return;
  watched.kill_wanted = true;
  watched.ended_by_us = std::move(why);
  WakeAsking();
}

void SlurmLauncher::RemoveStrays() {
  std::lock_guard lock(mutex_);
  strays_known_ = true;
  sweeps_ = std::max(sweeps_, 3);
  WakeAsking();
}

void SlurmLauncher::WakeAsking() {
  work_ = true;
  ask_.notify_one();
}

void SlurmLauncher::NoteReach(const absl::Status& status) {
  std::lock_guard lock(mutex_);
  const bool reachable = status.code() != absl::StatusCode::kUnavailable;
  if (reachable == reachable_ || stopping_) return;
  reachable_ = reachable;
  unreachable_why_ = std::string(status.message());
  reach_news_.emplace_back(reachable, unreachable_why_);
  news_ = true;
  watch_.notify_one();
}

void SlurmLauncher::Watch() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    news_ = false;
    while (!reach_news_.empty()) {
      const auto [reachable, why] = reach_news_.front();
      reach_news_.pop_front();
      lock.unlock();
      if (listener_.on_reach) listener_.on_reach("", reachable, why);
      lock.lock();
    }
    lock.unlock();
    ReadNotes();
    lock.lock();
    const auto has_news = [this] { return stopping_ || news_; };
    if (watched_.empty()) {
      watch_.wait(lock, has_news);
    } else {
      const auto looks = static_cast<int64_t>(1 + watched_.size() / kJobsPerLook);
      watch_.wait_for(lock, std::chrono::milliseconds(options_.look_ms * looks), has_news);
    }
  }
}

void SlurmLauncher::ReadNotes() {
  std::vector<std::pair<int64_t, SlurmFolder>> folders;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [launch, watched] : watched_) folders.emplace_back(launch, watched.folder);
  }
  for (const auto& [launch, folder] : folders) {
    const SlurmNotes notes = folder.ReadNotes();  // a slow file system must not hold the lock
    std::vector<int64_t> started;
    std::optional<WorkerExit> exit;
    {
      std::lock_guard lock(mutex_);
      const auto found = watched_.find(launch);
      if (found == watched_.end()) continue;
      TakeNotesLocked(launch, found->second, notes, started);
      if (IsOverLocked(found->second, Clock::now())) {
        exit = FinishLocked(launch, found->second);
        watched_.erase(found);
      }
    }
    for (const int64_t number : started) {
      if (listener_.on_started) listener_.on_started(number);
    }
    if (exit) {
      folder.DropAccess();
      listener_.on_exit(*exit);
    }
  }
}

void SlurmLauncher::TakeNotesLocked(int64_t launch, Watched& watched, const SlurmNotes& notes,
                                    std::vector<int64_t>& started) {
  const auto now = Clock::now();
  if (notes.started_job != 0 && !watched.started) {
    watched.started = true;
    // Submitted twice: whichever started is the worker, the other is a stray.
    watched.job = notes.started_job;
    started.push_back(launch);
    if (watched.stop_wanted) WakeAsking();
  }
  watched.out_of_memory = notes.out_of_memory;
  if (notes.refused.contains(watched.job)) watched.repeated = true;
  if (notes.status && !watched.status) {
    watched.status = notes.status;
    watched.over_since = now;
    // A worker that left of its own will needs no explanation, nor one that we ended.
    watched.asks =
        *notes.status != 0 && watched.ended_by_us.empty() && reachable_ && !watched.answer;
    if (watched.asks) WakeAsking();
  }
  if (watched.kill_at && *watched.kill_at <= now && !watched.over_since) {
    WantKillLocked(watched, "killed: it had not stopped within its grace time");
  }
}

bool SlurmLauncher::IsOverLocked(Watched& watched, Clock::time_point now) {
  if (watched.repeated) return true;
  if (!watched.over_since) return false;
  if (watched.status) return !watched.asks || now - *watched.over_since >= kAnswerPatience;
  if (watched.asks) return false;
  const auto patience = watched.started && !watched.answer ? kForgottenPatience : kNotePatience;
  return now - *watched.over_since >= patience;
}

WorkerExit SlurmLauncher::FinishLocked(int64_t launch, const Watched& watched) {
  finished_.insert(watched.job);
  WakeAsking();
  return ExplainEnd({.launch = launch,
                     .job = watched.job,
                     .status = watched.status,
                     .answer = watched.answer,
                     .repeated = watched.repeated,
                     .out_of_memory = watched.out_of_memory,
                     .ended_by_us = watched.ended_by_us});
}

}  // namespace trainyard::coordinator
