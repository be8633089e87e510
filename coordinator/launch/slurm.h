// The `slurm` pool: one worker is one job of a Slurm cluster, which may wait in its queue for
// hours.
//
// Two sources tell of a job. It notes its start and end in its folder, which is shared by all nodes
// and read all the time: so an end is known at once, also while the controller is down. And the
// controller is asked every few seconds: it alone knows of jobs that could note nothing, because
// their node failed or they were killed. A worker is gone when either says so; silence of both
// means nothing. Thread-safe. Destroying the launcher ends no worker.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/launch/pools.h"
#include "coordinator/launch/slurm_client.h"
#include "coordinator/launch/slurm_folder.h"

namespace trainyard::coordinator {

struct SlurmPoolOptions {
  std::string name;  // of the pool
  SlurmPool pool;
  std::string coordinator;  // "host:port", as TRAINYARD_COORDINATOR
  std::string
      coordinator_id;         // tells our jobs from another coordinator's; the same after a restart
  AccessIssuer access;        // may be empty
  bool private_urls = false;  // workers may fetch from private addresses
  int64_t look_ms = 50;       // how often the jobs' notes are read
  int64_t ask_ms = 2000;      // how often the controller is asked
  int64_t command_timeout_ms = 10'000;  // Slurm's own patience with a controller is 9 s
};

class SlurmLauncher final : public Launcher {
 public:
  // INVALID_ARGUMENT if no job can be made of the pool. Asks neither Slurm nor the file system.
  static absl::StatusOr<std::unique_ptr<SlurmLauncher>> Open(SlurmPoolOptions options,
                                                             LaunchListener listener);
  ~SlurmLauncher() override;

  void SetCoordinator(std::string address) override;
  absl::StatusOr<LaunchHandle> Launch(const LaunchOrder& order) override;
  // A worker that ended meanwhile is adopted too, and its end told with its real cause.
  absl::Status Adopt(const LaunchOrder& order, const LaunchHandle& handle) override;
  void Stop(int64_t launch, int64_t grace_ms) override;
  void Kill(int64_t launch) override;
  void RemoveStrays() override;
  bool queues() const override { return true; }
  std::string LogPath(int64_t launch) const override;

 private:
  using Clock = std::chrono::steady_clock;

  struct Watched {
    int64_t job = 0;
    SlurmFolder folder;
    int64_t since = 0;          // the listing before which it was not there to be listed
    bool started = false;       // and told
    bool repeated = false;      // Slurm started the job again
    std::optional<int> status;  // as its script noted it
    bool out_of_memory = false;
    std::optional<SlurmJob> answer;  // of the controller, once it was asked about its end
    std::optional<Clock::time_point> over_since;  // when its end was first seen
    bool asks = false;                            // the controller is to be asked how it ended
    int missing = 0;                              // listings without it, one after the other
    // What we want of it, and what Slurm was told already.
    bool stop_wanted = false, stop_sent = false, kill_wanted = false, kill_sent = false;
    std::optional<Clock::time_point> kill_at;  // when the grace time is over
    std::string ended_by_us;
  };

  SlurmLauncher(SlurmPoolOptions options, LaunchListener listener, int cancel_fd);
  SlurmFolder FolderOf(int64_t launch) const;
  absl::StatusOr<int64_t> Submit(int64_t launch);
  absl::StatusOr<std::optional<int64_t>> FindSubmitted(int64_t launch, const SlurmFolder& folder);
  void WatchLocked(int64_t launch, int64_t job, std::optional<SlurmJob> answer = std::nullopt);
  void WantKillLocked(Watched& watched, std::string why);
  void NoteReach(const absl::Status& status);
  void WakeAsking();

  // The watching thread: reads notes, keeps deadlines, and alone calls the listener.
  void Watch();
  void ReadNotes();
  void TakeNotesLocked(int64_t launch, Watched& watched, const SlurmNotes& notes,
                       std::vector<int64_t>& started);
  bool IsOverLocked(Watched& watched, Clock::time_point now);
  WorkerExit FinishLocked(int64_t launch, const Watched& watched);

  // The asking thread: runs Slurm's commands (slurm_asking.cc).
  void Ask();
  bool MustListLocked() const;
  void SendSignals();
  void AskHowTheyEnded();
  void ListJobs();
  void TakeListing(const std::vector<SlurmJob>& jobs, int64_t listing);
  void FindStraysLocked(const std::vector<SlurmJob>& jobs);

  const SlurmPoolOptions options_;  // but for the coordinator's address
  const LaunchListener listener_;
  const int cancel_fd_;  // readable: we are ending
  const std::string owner_;
  const SlurmClient client_;

  mutable std::mutex mutex_;
  std::condition_variable watch_;  // news for the watching thread
  std::condition_variable ask_;    // work for the asking thread
  bool stopping_ = false;
  bool news_ = false, work_ = false;
  std::string coordinator_;
  std::map<int64_t, Watched> watched_;
  std::set<int64_t> launching_;  // being submitted just now
  bool reachable_ = true;
  std::string unreachable_why_;
  std::deque<std::pair<bool, std::string>> reach_news_;
  int64_t listings_ = 0;         // begun so far
  bool strays_known_ = false;    // everything that should be watched is
  int sweeps_ = 0;               // listings still wanted although nobody is watched
  std::set<int64_t> finished_;   // jobs whose end was told, and that Slurm may not have ended yet
  std::set<int64_t> suspects_;   // jobs that the last listing had and nobody watches
  std::vector<int64_t> strays_;  // to be cancelled

  std::thread watching_, asking_;
};

}  // namespace trainyard::coordinator
