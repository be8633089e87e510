// The worker containers of one pool on one Docker host: starts them, watches them through the
// engine's event stream, and takes their output home.
//
// Everything that the host tells is handled on the thread of its HttpLoop. While the event stream
// is broken the host counts as lost and nothing is launched there; once it is back every container
// is asked for, so that no exit is missed. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/launch/docker_answers.h"
#include "coordinator/launch/docker_causes.h"
#include "coordinator/launch/docker_http.h"
#include "coordinator/launch/docker_log.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/launch/pools.h"

namespace trainyard::coordinator {

struct DockerPoolOptions {
  std::string name;  // of the pool
  DockerPool pool;
  std::vector<std::string> data_roots;  // mounted read-only, at the same path
  std::string coordinator;              // "host:port", as TRAINYARD_COORDINATOR
  std::string coordinator_id;           // random letters and digits, as lasting as the records
  std::string folder;                   // for logs; made if it is missing
  AccessIssuer access;                  // empty: workers are given no access files
  bool private_urls = false;            // workers may fetch from private networks
};

// Where the output of a launch is kept on this machine.
std::string WorkerLogPath(const std::string& folder, int64_t launch);

class DockerWorkers {
 public:
  // `options` and `listener` outlive it. Connects by itself, now and whenever it must.
  static absl::StatusOr<std::unique_ptr<DockerWorkers>> Open(const DockerPoolOptions& options,
                                                             const LaunchListener& listener,
                                                             const DockerHost& host);

  // As launcher.h has it.
  absl::StatusOr<LaunchHandle> Launch(const LaunchOrder& order, const std::string& coordinator);
  absl::Status Adopt(int64_t launch, const LaunchHandle& handle);
  void RemoveStrays();
  // False: no such launch is watched on this host.
  bool Stop(int64_t launch, int64_t grace_ms);
  bool Kill(int64_t launch);

 private:
  using Clock = std::chrono::steady_clock;
  enum class Reach { kConnecting, kUp, kLost };  // kConnecting: for the first time
  enum class Phase { kStarting, kRunning, kEnded };

  struct Container {
    std::string id;  // empty: not known yet, its name is
    Phase phase = Phase::kStarting;
    ExitFacts facts;
    std::optional<int> exit_code;              // as the event `die` told it
    bool second_look = false;                  // see MayLackMemory
    std::optional<Clock::time_point> stop_by;  // it was asked to stop, and is killed then
    std::shared_ptr<ContainerLog> log;
    HttpLoop::Id log_stream = 0;
    bool log_is_rest = false;  // the stream was begun after the end
    bool removing = false;
  };

  DockerWorkers(const DockerPoolOptions& options, const LaunchListener& listener,
                const DockerHost& host);
  std::string Name(int64_t launch) const;
  std::string Filters() const;
  bool IsOurs(const DockerContainer& container, int64_t launch) const;
  absl::Status Blame(const absl::Status& status) const;
  // "/v1.41/containers/ID" + what follows.
  std::string PathLocked(int64_t launch, const Container& container, const char* what) const;

  // docker_workers.cc: on the loop's thread.
  void Connect();
  void Watch(int64_t connection);
  void OnWatching();
  bool OnEvents(std::string_view data);
  void OnEvent(const DockerEvent& event);
  void OnLost(int64_t connection, const std::string& why);
  void Ask(HttpRequest request, std::function<void(const HttpReply&)> then);
  void Inspect(int64_t launch);
  void OnInspected(int64_t launch, const HttpReply& reply);
  void End(int64_t launch, const WorkerExit& exit);
  void SendStop(int64_t launch);
  void SendKill(int64_t launch, const std::string& why);
  void EndStrays();

  // docker_output.cc: on the loop's thread.
  bool FollowLog(int64_t launch);
  void OnLogEnd(int64_t launch, const absl::StatusOr<HttpReply>& reply);
  void TakeRestAndRemove(int64_t launch);
  void Remove(int64_t launch);
  void RemoveContainer(const std::string& id, std::chrono::milliseconds pause,
                       std::function<void()> then);

  // docker_start.cc: on the callers' threads.
  absl::Status WaitUntilUp();
  absl::StatusOr<HttpReply> Call(HttpRequest request);
  absl::StatusOr<std::string> ImageOf(const LaunchOrder& order) const;
  absl::StatusOr<std::string> OwnAddressOn(const std::string& network);
  absl::StatusOr<std::string> Make(const LaunchOrder& order, const std::string& coordinator);
  absl::Status Start(const std::string& id, const std::string& image, const AccessFiles& access);
  absl::StatusOr<std::optional<DockerContainer>> Find(int64_t launch, const std::string& id);
  absl::Status RemoveNow(const std::string& id);
  void Watched(int64_t launch, const std::string& id);

  const DockerPoolOptions& options_;
  const LaunchListener& listener_;
  const DockerHost host_;

  std::mutex mutex_;
  std::condition_variable changed_;  // reach_
  Reach reach_ = Reach::kConnecting;
  absl::Status trouble_;    // why it is lost
  int64_t connection_ = 0;  // whose loss is news; 0: none
  int64_t last_connection_ = 0;
  std::string version_;  // "/v1.41", once it was asked for
  bool end_strays_ = false;
  std::map<int64_t, Container> containers_;  // by launch, until they are removed

  // Of the loop's thread alone.
  HttpLoop::Id events_ = 0;
  std::string event_line_;  // which is not whole yet
  Clock::time_point watching_since_;
  std::chrono::milliseconds pause_{};

  std::unique_ptr<HttpLoop> loop_;  // last: its thread uses all of the above
};

}  // namespace trainyard::coordinator
