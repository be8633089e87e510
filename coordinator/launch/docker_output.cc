// DockerWorkers: the containers' output, and their removal once all of it is here.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/launch/docker_template.h"
#include "coordinator/launch/docker_workers.h"
#include "spdlog/spdlog.h"

namespace trainyard::coordinator {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kFollowAgain{2};
constexpr seconds kRestMax{10};  // for the output that a container left when it ended
constexpr seconds kRemoveAgainMax{60};

}  // namespace

std::string WorkerLogPath(const std::string& folder, int64_t launch) {
  return absl::StrCat(folder, "/worker-", launch, ".log");
}

// False: there is nothing to wait for.
bool DockerWorkers::FollowLog(int64_t launch) {
  std::lock_guard lock(mutex_);
  const auto found = containers_.find(launch);
  if (found == containers_.end()) return false;
  Container& container = found->second;
  if (container.log_stream != 0) return true;
  if (!container.log) {
    auto log = ContainerLog::Open(WorkerLogPath(options_.folder, launch), container.id);
    if (!log.ok()) {
      spdlog::warn("{}", std::string(Blame(log.status()).message()));
      return false;
    }
    container.log = *std::move(log);
  }
  if (container.log->full()) return false;
  const std::string path = absl::StrCat(
      PathLocked(launch, container, "/logs?follow=1&stdout=1&stderr=1&timestamps=1&since="),
      container.log->BeginStream());
  container.log_is_rest = container.phase == Phase::kEnded;
  container.log_stream = loop_->StartStream(
      {.path = path},
      {nullptr,
       [this, log = container.log](std::string_view data) {
         const absl::Status status = log->Feed(data);
         if (!status.ok()) spdlog::warn("{}", std::string(Blame(status).message()));
         return status.ok() && !log->full();
       }},
      [this, launch](const absl::StatusOr<HttpReply>& reply) { OnLogEnd(launch, reply); });
  return true;
}

void DockerWorkers::OnLogEnd(int64_t launch, const absl::StatusOr<HttpReply>& reply) {
  if (absl::IsCancelled(reply.status())) return;
  // 404 and 409: somebody has removed the container, or is about to.
  const bool removed = reply.ok() && (reply->status == 404 || reply->status == 409);
  if (reply.ok() && reply->status != 200 && !removed) {
    spdlog::warn("pool {}, host {}: no log of launch {}: {}", options_.name, host_.name, launch,
                 ReadMessage(*reply));
  }
  bool ended, complete;
  {
    std::lock_guard lock(mutex_);
    const auto found = containers_.find(launch);
    if (found == containers_.end()) return;
    Container& container = found->second;
    container.log_stream = 0;
    ended = container.phase == Phase::kEnded;
    complete = ended && (container.log_is_rest || removed);
  }
  if (complete && reply.ok()) return Remove(launch);
  // The engine may end a stream with the container before all of its output was sent.
  if (ended && reply.ok()) return TakeRestAndRemove(launch);
  // The connection broke, or the container has ended and nobody has told of it yet.
  loop_->After(kFollowAgain, [this, launch] {
    bool ended;
    {
      std::lock_guard lock(mutex_);
      const auto found = containers_.find(launch);
      if (found == containers_.end() || reach_ != Reach::kUp) return;
      ended = found->second.phase == Phase::kEnded;
    }
    if (ended) return TakeRestAndRemove(launch);
    FollowLog(launch);
  });
}

void DockerWorkers::TakeRestAndRemove(int64_t launch) {
  if (!FollowLog(launch)) return Remove(launch);
  // The stream ends by itself with the container; this is for one that does not.
  loop_->After(kRestMax, [this, launch] {
    HttpLoop::Id stream = 0;
    {
      std::lock_guard lock(mutex_);
      const auto found = containers_.find(launch);
      if (found == containers_.end() || found->second.phase != Phase::kEnded) return;
      stream = std::exchange(found->second.log_stream, 0);
    }
    if (stream == 0) return;
    loop_->Cancel(stream);
    Remove(launch);
  });
}

void DockerWorkers::Remove(int64_t launch) {
  std::string id;
  {
    std::lock_guard lock(mutex_);
    const auto found = containers_.find(launch);
    if (found == containers_.end() || found->second.removing) return;
    found->second.removing = true;
    id = found->second.id.empty() ? Name(launch) : found->second.id;
  }
  RemoveContainer(id, seconds(1), [this, launch] {
    std::lock_guard lock(mutex_);
    const auto found = containers_.find(launch);
    if (found == containers_.end()) return;
    if (found->second.log) found->second.log->Finish();
    containers_.erase(found);
  });
}

void DockerWorkers::RemoveContainer(const std::string& id, milliseconds pause,
                                    std::function<void()> then) {
  Ask({.method = "DELETE",
       .path = absl::StrCat(version_, "/containers/", id, "?v=1&force=1"),
       .timeout = seconds(60)},
      [this, id, pause, then = std::move(then)](const HttpReply& reply) {
        // 409: it is being removed already.
        if (reply.status < 300 || reply.status == 404 || reply.status == 409) return then();
        spdlog::warn("pool {}, host {}: cannot remove container {}: {}", options_.name, host_.name,
                     id, ReadMessage(reply));
        loop_->After(pause, [this, id, pause, then] {
          RemoveContainer(id, std::min<milliseconds>(pause * 2, kRemoveAgainMax), then);
        });
      });
}

}  // namespace trainyard::coordinator
