// Follows events, and reconnects by itself: after a cut it goes on behind the last event seen, so
// nothing is missed and nothing comes twice.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "cli/client.h"

namespace trainyard::cli {

struct FollowOptions {
  int64_t job = 0;  // 0: all events
  // When to stop with DEADLINE_EXCEEDED.
  std::optional<std::chrono::steady_clock::time_point> deadline;
  // How long to try again after the coordinator was lost, before UNAVAILABLE.
  std::chrono::milliseconds reconnect_for{0};
};

struct FollowCallbacks {
  // Each event once, in order. False: enough.
  std::function<bool(const v1::Event&)> on_event;
  // A few times a second, and whenever something has changed. False: enough.
  std::function<bool()> on_tick;
  // The coordinator is out of reach; `again_in` until the next try.
  std::function<void(const absl::Status&, std::chrono::milliseconds again_in)> on_lost;
  // It answers again, after on_lost.
  std::function<void()> on_back;
};

// Runs until a callback has had enough (OK), the job's stream has ended after its job_ended event
// (OK), the deadline, an error that no retry mends, or `reconnect_for` without an answer.
absl::Status Follow(Client& client, const FollowOptions& options, const FollowCallbacks& callbacks);

}  // namespace trainyard::cli
