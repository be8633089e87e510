// Watches projects' branches and prepares what is pushed.
//
// A new tip becomes the event PushSeen; the effect PrepareSource becomes SourcePrepared or
// SourceRefused. A repository that cannot be reached is an error to show, and is asked again.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "coordinator/core/effect.h"
#include "coordinator/core/ids.h"
#include "coordinator/loop.h"
#include "coordinator/watch/source_preparer.h"

namespace trainyard::coordinator {

struct WatcherOptions {
  int64_t poll_local_ms = 2'000;    // a path or file://
  int64_t poll_remote_ms = 30'000;  // anything else
  int threads = 4;                  // repositories and pushes looked at at a time
};

class ProjectWatcher {
 public:
  // `preparer` must outlive it; `loop` too.
  ProjectWatcher(WatcherOptions options, Loop* loop, SourcePreparer* preparer);
  // Waits for what is under way.
  ~ProjectWatcher();

  // The effect. Returns at once; the same push again is prepared once.
  void Prepare(const core::PrepareSource& effect, const core::Project& project);

  // Looks at these projects now. `by` says who knows of a push: "hook github".
  void Poke(const std::vector<core::ProjectId>& projects, const std::string& by);
  // Those of this name or of this repository's URL, however it is written. How many there are.
  int Poke(std::string_view name_or_url);

  // Why the project's repository could not be asked the last time; empty: it could.
  std::string ErrorOf(core::ProjectId project) const;

  // The newest push that was seen since the start. Not recorded: it is there to show whether hooks
  // arrive.
  struct Seen {
    int64_t wall_ms = 0;  // 0: none yet
    std::string by;       // "poll", or who made it look
  };
  Seen LastSeen(core::ProjectId project) const;

 private:
  using Steady = std::chrono::steady_clock;
  struct Polled {
    Steady::time_point next;
    bool under_way = false;
    bool again = false;  // poked while under way: what it saw may be older than the poke
    std::string poked_by;
    std::string error;
    Seen seen;
  };
  struct Push {
    core::PrepareSource effect;
    std::string url;
  };

  void Plan();
  void Work();
  void Poll(core::ProjectId project);
  // Who poked it since its last look; empty: nobody.
  std::string TakePoke(core::ProjectId project);
  void SetSeen(core::ProjectId project, const std::string& by);
  void PrepareNow(const Push& push);
  int64_t IntervalOf(const std::string& url) const;

  const WatcherOptions options_;
  Loop* const loop_;
  SourcePreparer* const preparer_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<core::ProjectId, Polled> polled_;
  std::deque<core::ProjectId> polls_;  // due, each project once
  std::deque<Push> pushes_;
  std::set<core::PushId> preparing_;  // in pushes_ or under way
  bool stopping_ = false;

  std::thread planner_;
  std::vector<std::thread> workers_;
};

// Where a repository lies on this machine (a path or file://), so that asking it costs next to
// nothing.
bool IsLocal(std::string_view url);

}  // namespace trainyard::coordinator
