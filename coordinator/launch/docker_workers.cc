#include "coordinator/launch/docker_workers.h"

#include <signal.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/launch/docker_template.h"
#include "spdlog/spdlog.h"

namespace trainyard::coordinator {
namespace {

using std::chrono::ceil;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kPauseMin{100}, kPauseMax{5'000};
constexpr seconds kSteady{5};  // a connection that lasted so long makes the next pause short again
constexpr seconds kAskAgain{1};
constexpr seconds kAnswerMax{5};  // of a host of which nothing is known
constexpr milliseconds kSecondLook{100};
constexpr size_t kEventMax = size_t{1} << 20;

// Whether a want of memory may be why it ended, without anybody having said so. The engine hears of
// that apart from the end, and sometimes after it.
bool MayLackMemory(const DockerContainer& container, const ExitFacts& facts) {
  return container.exit_code != 0 && facts.memory_bytes > 0 && !container.oom_killed &&
         !facts.oom_seen && !facts.kill_seen && facts.killed_by_us.empty();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DockerWorkers>> DockerWorkers::Open(const DockerPoolOptions& options,
                                                                   const LaunchListener& listener,
                                                                   const DockerHost& host) {
  std::unique_ptr<DockerWorkers> workers(new DockerWorkers(options, listener, host));
  auto loop = HttpLoop::Open(host);
  if (!loop.ok()) return workers->Blame(loop.status());
  workers->loop_ = *std::move(loop);
  workers->loop_->After({}, [self = workers.get()] { self->Connect(); });
  return workers;
}

DockerWorkers::DockerWorkers(const DockerPoolOptions& options, const LaunchListener& listener,
                             const DockerHost& host)
    : options_(options), listener_(listener), host_(host) {}

std::string DockerWorkers::Name(int64_t launch) const {
  return ContainerName(options_.coordinator_id, launch);
}

std::string DockerWorkers::Filters() const {
  const nlohmann::json labels = {absl::StrCat(kCoordinatorLabel, "=", options_.coordinator_id),
                                 absl::StrCat(kPoolLabel, "=", options_.name)};
  return PercentEncode(nlohmann::json{{"label", labels}}.dump());
}

bool DockerWorkers::IsOurs(const DockerContainer& container, int64_t launch) const {
  return container.coordinator == options_.coordinator_id && container.pool == options_.name &&
         container.launch == launch;
}

absl::Status DockerWorkers::Blame(const absl::Status& status) const {
  if (status.ok()) return status;
  return {status.code(), absl::StrCat("pool ", options_.name, ", host ", host_.name, ": ",
                                      std::string(status.message()))};
}

std::string DockerWorkers::PathLocked(int64_t launch, const Container& container,
                                      const char* what) const {
  return absl::StrCat(version_, "/containers/", container.id.empty() ? Name(launch) : container.id,
                      what);
}

// ---- The connection ----

void DockerWorkers::Connect() {
  int64_t connection;
  {
    std::lock_guard lock(mutex_);
    connection = connection_ = ++last_connection_;
  }
  const auto on_reply = [this, connection](const absl::StatusOr<HttpReply>& reply) {
    if (absl::IsCancelled(reply.status())) return;
    const auto version = reply.ok() ? ReadVersion(*reply) : reply.status();
    if (!version.ok()) return OnLost(connection, std::string(version.status().message()));
    {
      std::lock_guard lock(mutex_);
      version_ = *version;
    }
    Watch(connection);
  };
  loop_->Start({.path = "/version", .timeout = kAnswerMax}, on_reply);
}

void DockerWorkers::Watch(int64_t connection) {
  event_line_.clear();
  // From the start of what it still remembers: what was told twice is harmless, and nothing is lost
  // between the question how the containers are and the first event.
  events_ = loop_->StartStream(
      {.path = absl::StrCat(version_, "/events?since=0&filters=", Filters())},
      {[this] { OnWatching(); }, [this](std::string_view data) { return OnEvents(data); }},
      [this, connection](const absl::StatusOr<HttpReply>& reply) {
        if (absl::IsCancelled(reply.status())) return;
        events_ = 0;
        OnLost(connection, !reply.ok()            ? std::string(reply.status().message())
                           : reply->status == 200 ? "its event stream has ended"
                                                  : ReadMessage(*reply));
      });
  loop_->After(kAnswerMax, [this, connection] {
    {
      std::lock_guard lock(mutex_);
      if (reach_ == Reach::kUp) return;
    }
    OnLost(connection, "no answer in time: its event stream does not open");
  });
}

void DockerWorkers::OnWatching() {
  watching_since_ = Clock::now();
  bool back, strays;
  std::vector<int64_t> running, ended;
  {
    std::lock_guard lock(mutex_);
    back = reach_ == Reach::kLost;
    reach_ = Reach::kUp;
    trouble_ = absl::OkStatus();
    strays = end_strays_;
    for (auto& [launch, container] : containers_) {
      if (container.phase == Phase::kRunning) running.push_back(launch);
      if (container.phase == Phase::kEnded) ended.push_back(launch);
      container.removing = false;  // if it was asked for, the answer got lost
    }
    changed_.notify_all();
  }
  if (back && listener_.on_reach) listener_.on_reach(host_.name, true, "");
  for (const int64_t launch : running) Inspect(launch);
  for (const int64_t launch : ended) TakeRestAndRemove(launch);
  if (strays) EndStrays();
}

void DockerWorkers::OnLost(int64_t connection, const std::string& why) {
  bool first;
  {
    std::lock_guard lock(mutex_);
    if (connection == 0 || connection != connection_) return;  // it is known
    connection_ = 0;
    first = reach_ != Reach::kLost;
    reach_ = Reach::kLost;
    trouble_ = absl::UnavailableError(absl::StrCat(host_.url, ": ", why));
    changed_.notify_all();
  }
  if (events_ != 0) loop_->Cancel(std::exchange(events_, 0));
  if (Clock::now() - watching_since_ > kSteady) pause_ = {};
  pause_ = std::clamp(pause_ * 2, kPauseMin, kPauseMax);
  loop_->After(pause_, [this] { Connect(); });
  if (first && listener_.on_reach) {
    listener_.on_reach(host_.name, false, absl::StrCat(host_.url, ": ", why));
  }
}

void DockerWorkers::Ask(HttpRequest request, std::function<void(const HttpReply&)> then) {
  int64_t connection;
  {
    std::lock_guard lock(mutex_);
    connection = connection_;
  }
  loop_->Start(std::move(request),
               [this, connection, then = std::move(then)](const absl::StatusOr<HttpReply>& reply) {
                 if (absl::IsCancelled(reply.status())) return;
                 if (!reply.ok()) return OnLost(connection, std::string(reply.status().message()));
                 then(*reply);
               });
}

// ---- What happens to containers ----

bool DockerWorkers::OnEvents(std::string_view data) {
  event_line_.append(data.data(), data.size());
  size_t start = 0;
  for (size_t end; (end = event_line_.find('\n', start)) != std::string::npos; start = end + 1) {
    const auto event = ReadEvent(std::string_view(event_line_).substr(start, end - start));
    if (event) OnEvent(*event);
  }
  event_line_.erase(0, start);
  return event_line_.size() <= kEventMax;
}

void DockerWorkers::OnEvent(const DockerEvent& event) {
  {
    std::lock_guard lock(mutex_);
    const auto found = containers_.find(event.launch);
    if (found == containers_.end()) return;
    Container& container = found->second;
    if (!container.id.empty() && container.id != event.container) return;
    if (event.action == "oom") container.facts.oom_seen = true;
    if (event.action == "kill" && event.signal == SIGKILL) container.facts.kill_seen = true;
    if (event.action == "die") container.exit_code = event.exit_code;
    const bool over = event.action == "die" || event.action == "destroy" ||
                      (event.action == "oom" && container.second_look);
    if (!over || container.phase != Phase::kRunning) return;
  }
  Inspect(event.launch);
}

void DockerWorkers::Inspect(int64_t launch) {
  HttpRequest request;
  {
    std::lock_guard lock(mutex_);
    const auto found = containers_.find(launch);
    if (found == containers_.end() || found->second.phase != Phase::kRunning) return;
    request.path = PathLocked(launch, found->second, "/json");
  }
  Ask(std::move(request), [this, launch](const HttpReply& reply) { OnInspected(launch, reply); });
}

void DockerWorkers::OnInspected(int64_t launch, const HttpReply& reply) {
  auto answer = reply.status == 200
                    ? ReadContainer(reply.body)
                    : absl::StatusOr<DockerContainer>(absl::UnavailableError(ReadMessage(reply)));
  const bool gone = reply.status == 404 || (answer.ok() && !IsOurs(*answer, launch));
  if (!answer.ok() && !gone) {
    spdlog::warn("{}", std::string(Blame(answer.status()).message()));
    return loop_->After(kAskAgain, [this, launch] { Inspect(launch); });
  }
  std::optional<WorkerExit> exit;
  bool stop = false;
  std::string kill;
  {
    std::lock_guard lock(mutex_);
    const auto found = containers_.find(launch);
    if (found == containers_.end() || found->second.phase != Phase::kRunning) return;
    Container& container = found->second;
    if (!gone) container.id = answer->id;
    if (gone && container.exit_code) {
      exit = DescribeExit(launch, *container.exit_code, false, container.facts);
    } else if (gone) {
      exit = DescribeLoss(launch, absl::StrCat("its container is gone from host ", host_.name,
                                               ", how it ended is not known"));
    } else if (answer->ended()) {
      if (MayLackMemory(*answer, container.facts) && !std::exchange(container.second_look, true)) {
        return loop_->After(kSecondLook, [this, launch] { Inspect(launch); });
      }
      exit = DescribeExit(launch, answer->exit_code, answer->oom_killed, container.facts);
      if (!answer->error.empty()) absl::StrAppend(&exit->cause, ": ", answer->error);
    } else if (answer->status == "created") {
      exit = DescribeLoss(launch, absl::StrCat("its container on host ", host_.name,
                                               " was never started: ", answer->error));
    }
    stop = container.stop_by.has_value();
    kill = container.facts.killed_by_us;
  }
  if (exit) return End(launch, *exit);
  FollowLog(launch);
  if (!kill.empty()) {
    SendKill(launch, kill);
  } else if (stop) {
    SendStop(launch);
  }
}

void DockerWorkers::End(int64_t launch, const WorkerExit& exit) {
  {
    std::lock_guard lock(mutex_);
    const auto found = containers_.find(launch);
    if (found == containers_.end() || found->second.phase == Phase::kEnded) return;
    found->second.phase = Phase::kEnded;
  }
  listener_.on_exit(exit);
  TakeRestAndRemove(launch);
}

// ---- What is done to them ----

bool DockerWorkers::Stop(int64_t launch, int64_t grace_ms) {
  const milliseconds grace(std::max<int64_t>(grace_ms, 0));
  std::lock_guard lock(mutex_);
  const auto found = containers_.find(launch);
  if (found == containers_.end()) return false;
  Container& container = found->second;
  const auto by = Clock::now() + grace;
  const bool first = !container.stop_by;
  container.stop_by = first ? by : std::min(*container.stop_by, by);
  // While it is being started, or while the host is lost, it is asked once that is over.
  if (first && container.phase == Phase::kRunning && reach_ == Reach::kUp) {
    loop_->After({}, [this, launch] { SendStop(launch); });
  }
  loop_->After(grace, [this, launch] {
    {
      std::lock_guard lock(mutex_);
      const auto found = containers_.find(launch);
      if (found == containers_.end()) return;
      const auto& by = found->second.stop_by;  // none: another container of this launch
      if (!by || *by > Clock::now()) return;
    }
    SendKill(launch, "killed: it had not stopped within its grace time");
  });
  return true;
}

void DockerWorkers::SendStop(int64_t launch) {
  HttpRequest request{.method = "POST"};
  {
    std::lock_guard lock(mutex_);
    const auto found = containers_.find(launch);
    if (found == containers_.end() || found->second.phase != Phase::kRunning) return;
    // The engine kills it itself, a little later than we would, if we are gone by then.
    const auto left = std::max(*found->second.stop_by - Clock::now(), Clock::duration::zero());
    const auto grace = ceil<seconds>(left) + seconds(1);
    request.path = absl::StrCat(PathLocked(launch, found->second, "/stop?t="), grace.count());
    request.timeout = grace + seconds(30);
  }
  Ask(std::move(request), [](const HttpReply&) {});  // events tell what came of it
}

bool DockerWorkers::Kill(int64_t launch) {
  std::lock_guard lock(mutex_);
  const auto found = containers_.find(launch);
  if (found == containers_.end()) return false;
  std::string& why = found->second.facts.killed_by_us;
  if (why.empty()) why = "killed by the coordinator";
  loop_->After({}, [this, launch, why] { SendKill(launch, why); });
  return true;
}

void DockerWorkers::SendKill(int64_t launch, const std::string& why) {
  HttpRequest request{.method = "POST"};
  {
    std::lock_guard lock(mutex_);
    const auto found = containers_.find(launch);
    if (found == containers_.end() || found->second.phase == Phase::kEnded) return;
    Container& container = found->second;
    if (container.facts.killed_by_us.empty()) container.facts.killed_by_us = why;
    if (container.phase != Phase::kRunning || reach_ != Reach::kUp) return;  // later
    request.path = PathLocked(launch, container, "/kill");
  }
  Ask(std::move(request), [](const HttpReply&) {});
}

void DockerWorkers::RemoveStrays() {
  std::lock_guard lock(mutex_);
  end_strays_ = true;
  if (reach_ == Reach::kUp) loop_->After({}, [this] { EndStrays(); });
}

void DockerWorkers::EndStrays() {
  const std::string path = absl::StrCat(version_, "/containers/json?all=1&filters=", Filters());
  Ask({.path = path}, [this](const HttpReply& reply) {
    const auto containers = reply.status == 200 ? ReadContainers(reply.body)
                                                : absl::UnavailableError(ReadMessage(reply));
    if (!containers.ok()) {
      spdlog::warn("{}", std::string(Blame(containers.status()).message()));
      return;
    }
    for (const DockerContainer& container : *containers) {
      {
        std::lock_guard lock(mutex_);
        if (containers_.contains(container.launch)) continue;
      }
      spdlog::info("pool {}, host {}: removing container {} of launch {}, which nobody wants",
                   options_.name, host_.name, container.id.substr(0, 12), container.launch);
      RemoveContainer(container.id, kAskAgain, [] {});
    }
  });
}

}  // namespace trainyard::coordinator
