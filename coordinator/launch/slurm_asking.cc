// The asking thread of the `slurm` pool: everything that is said to the controller, or asked of it,
// once a worker is launched.
#include <algorithm>
#include <utility>

#include "coordinator/launch/slurm.h"

namespace trainyard::coordinator {
namespace {

// How often it is asked while somebody waits to hear how a worker ended,
constexpr auto kHurry = std::chrono::milliseconds(100);
// and that it ended at all, which we wanted.
constexpr auto kSoon = std::chrono::milliseconds(500);

// Whether this answer says how a job ended, or at least why it had to.
bool IsFinal(const SlurmJob& answer) {
  return answer.over() || answer.waits() || answer.preempted || answer.restarts > 0;
}

}  // namespace

void SlurmLauncher::Ask() {
  auto next_listing = Clock::now();
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    work_ = false;
    lock.unlock();
    SendSignals();
    AskHowTheyEnded();
    lock.lock();
    if (MustListLocked() && Clock::now() >= next_listing) {
      lock.unlock();
      ListJobs();
      lock.lock();
      next_listing = Clock::now() + std::chrono::milliseconds(options_.ask_ms);
    }
    bool asks = false, ends = false;
    for (const auto& [launch, watched] : watched_) {
      asks = asks || watched.asks;
      ends = ends || watched.kill_sent || (watched.stop_wanted && !watched.started);
    }
    if (ends) next_listing = std::min(next_listing, Clock::now() + kSoon);
    const auto ready = [this] { return stopping_ || work_; };
    if (asks && reachable_) {
      ask_.wait_for(lock, kHurry, ready);
    } else if (MustListLocked()) {
      ask_.wait_until(lock, next_listing, ready);
    } else {
      ask_.wait(lock, ready);
    }
  }
}

bool SlurmLauncher::MustListLocked() const {
  return !watched_.empty() || !finished_.empty() || sweeps_ > 0 || !reachable_;
}

// What could not be said stays wanted, and is said again once the controller listens.
void SlurmLauncher::SendSignals() {
  struct Signal {
    int64_t launch, job;
    bool kill, started;
  };
  std::vector<Signal> signals;
  std::vector<int64_t> strays;
  {
    std::lock_guard lock(mutex_);
    if (!reachable_) return;
    for (const auto& [launch, watched] : watched_) {
      const bool stop = watched.stop_wanted && !watched.stop_sent;
      const bool kill = watched.kill_wanted && !watched.kill_sent;
      if (stop || kill) signals.push_back({launch, watched.job, kill, watched.started});
    }
    strays = std::exchange(strays_, {});
  }
  for (const Signal& signal : signals) {
    const absl::Status status = signal.kill      ? client_.Cancel(signal.job)
                                : signal.started ? client_.Terminate(signal.job)
                                                 : client_.CancelIfPending(signal.job);
    NoteReach(status);
    std::lock_guard lock(mutex_);
    const auto found = watched_.find(signal.launch);
    if (!status.ok() || found == watched_.end()) continue;
    if (signal.kill) found->second.kill_sent = true;
    // One that was about to start when it was cancelled in the queue is still to be asked.
    if (signal.started) found->second.stop_sent = true;
  }
  // One that stays is found again by the next listing.
  for (const int64_t job : strays) NoteReach(client_.Cancel(job));
}

void SlurmLauncher::AskHowTheyEnded() {
  std::vector<std::pair<int64_t, int64_t>> asked;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [launch, watched] : watched_) {
      if (watched.asks) asked.emplace_back(launch, watched.job);
    }
  }
  for (const auto& [launch, job] : asked) {
    auto answer = client_.Show(job);
    NoteReach(answer.status());
    // Forgotten already, or lost with the controller's state: the accounting may know.
    if (answer.ok() && !*answer) answer = client_.Account(job);
    std::lock_guard lock(mutex_);
    const auto found = watched_.find(launch);
    if (found == watched_.end()) continue;
    Watched& watched = found->second;
    if (!answer.ok()) {
      // What its own note says must do. Without a note nothing is known yet, and it is not over.
      if (!watched.status) watched.over_since.reset();
      watched.asks = false;
    } else {
      watched.answer = *answer;
      watched.asks = *answer && !IsFinal(**answer);
    }
    news_ = true;
    watch_.notify_one();
  }
}

void SlurmLauncher::ListJobs() {
  int64_t listing;
  {
    std::lock_guard lock(mutex_);
    listing = ++listings_;
  }
  const auto jobs = client_.List();
  NoteReach(jobs.ok() ? absl::OkStatus()
                      : absl::UnavailableError(std::string(jobs.status().message())));
  if (!jobs.ok()) return;
  TakeListing(*jobs, listing);
  SendSignals();
  AskHowTheyEnded();
}

void SlurmLauncher::TakeListing(const std::vector<SlurmJob>& jobs, int64_t listing) {
  std::map<int64_t, const SlurmJob*> listed;
  for (const SlurmJob& job : jobs) listed[job.id] = &job;
  std::lock_guard lock(mutex_);
  for (auto& [launch, watched] : watched_) {
    // Submitted while the controller was answering: it may be missing for that reason alone.
    if (watched.since >= listing || watched.over_since) continue;
    const auto found = listed.find(watched.job);
    if (found == listed.end()) {
      // Twice, so that a controller that is just coming up is not taken at its first word.
      if (++watched.missing < 2) continue;
    } else if (found->second->waits() && watched.started) {
      watched.repeated = true;
      continue;
    } else if (!found->second->over()) {
      watched.missing = 0;
      continue;
    }
    watched.over_since = Clock::now();
    watched.asks = true;
  }
  if (sweeps_ > 0) --sweeps_;
  FindStraysLocked(jobs);
  news_ = true;
  watch_.notify_one();
}

// Jobs of ours that nobody watches. Seen twice: a job that has just ended is not a stray.
void SlurmLauncher::FindStraysLocked(const std::vector<SlurmJob>& jobs) {
  std::set<int64_t> suspects, unfinished;
  for (const SlurmJob& job : jobs) {
    const int64_t launch = LaunchOfComment(job.comment, owner_);
    if (launch < 0 || job.over()) continue;
    if (finished_.contains(job.id)) unfinished.insert(job.id);
    if (job.state == "COMPLETING" || launching_.contains(launch)) continue;
    const auto watched = watched_.find(launch);
    if (watched != watched_.end() && watched->second.job == job.id) continue;
    if (!strays_known_ && !finished_.contains(job.id)) continue;
    if (suspects_.contains(job.id)) strays_.push_back(job.id);
    suspects.insert(job.id);
  }
  suspects_ = std::move(suspects);
  finished_ = std::move(unfinished);
}

}  // namespace trainyard::coordinator
