// How the places that workers come from do: lost and found, set aside when too much fails there.
//
//   what happens                                          what follows
//   ---------------------------------------------------- ------------------------------------------
//   a launch brings no worker                             a pause that grows with each in a row
//   attempts of more than one trial die there in a row    the same; one trial alone may be to blame
//   a worker there gets to an attempt                     launching works: no pause
//   the GPU of a slot is lost, or its worker came         that slot has the longest pause
//   without it, and somebody waits for it
//   an attempt there stores a checkpoint, or completes    nothing is held against it any more
//   it cannot be reached                                  no launches until it is found again
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

void SetAsideFor(Turn& turn, const HostName& name, int failures, const std::string& why) {
  HostHealth& health = turn.state.hosts[name];
  const int64_t pause_ms = GrowingPause(turn.state.settings, failures);
  health.not_before_ms = turn.now_ms + pause_ms;
  health.message = why;
  turn.Tell({.kind = HistoryKind::kNote,
             .text = absl::StrFormat("%s is set aside for %.0f s: %s", Describe(name),
                                     std::max(1.0, pause_ms / 1000.0), why)});
}

void ForgetIfWell(State& state, const HostName& name) {
  const auto found = state.hosts.find(name);
  if (found == state.hosts.end()) return;
  HostHealth& health = found->second;
  if (health.launch_failures > 0 || health.attempt_failures > 0) return;
  if (health.reachable && health.slots_not_before_ms.empty()) {
    state.hosts.erase(found);
  } else {
    health.not_before_ms = 0;
  }
}

}  // namespace

int64_t GrowingPause(const Settings& settings, int failures) {
  int64_t pause_ms = settings.retry_pause_ms;
  for (int i = 1; i < failures && pause_ms < settings.retry_pause_max_ms; ++i) pause_ms *= 2;
  return std::min(pause_ms, settings.retry_pause_max_ms);
}

std::string Describe(const HostName& name) {
  if (name.host.empty()) return absl::StrCat("pool ", name.pool);
  return absl::StrCat("host ", name.host, " of pool ", name.pool);
}

bool Usable(const State& state, const HostName& name, int64_t now_ms) {
  const auto health = state.hosts.find(name);
  return health == state.hosts.end() ||
         (health->second.reachable && health->second.not_before_ms <= now_ms);
}

bool SlotUsable(const State& state, const SlotName& slot, int64_t now_ms) {
  const auto health = state.hosts.find(slot.host);
  if (health == state.hosts.end()) return true;
  const auto until = health->second.slots_not_before_ms.find(slot.slot);
  return until == health->second.slots_not_before_ms.end() || until->second <= now_ms;
}

void GiveUpDevice(Turn& turn, WorkerId id, const std::string& why) {
  Worker& worker = turn.Change(id);
  worker.draining = true;
  const auto launch = turn.state.launches.find(worker.launch);
  if (launch == turn.state.launches.end()) return;
  // A GPU that is gone is seldom back soon, and each look at it costs a launch or an attempt.
  const int64_t pause_ms = turn.state.settings.retry_pause_max_ms;
  const SlotName& slot = launch->second.slot;
  std::map<int, int64_t>& slots = turn.state.hosts[slot.host].slots_not_before_ms;
  std::erase_if(slots, [&](const auto& entry) { return entry.second <= turn.now_ms; });
  slots[slot.slot] = turn.now_ms + pause_ms;
  turn.Tell({.kind = HistoryKind::kNote,
             .text = absl::StrFormat("slot %d of %s is set aside for %.0f s: %s", slot.slot,
                                     Describe(slot.host), pause_ms / 1000.0, why)});
}

void NoteLaunchFailure(Turn& turn, const HostName& name, const std::string& message) {
  const int failures = ++turn.state.hosts[name].launch_failures;
  SetAsideFor(turn, name, failures, message);
}

void NoteAttemptFailure(Turn& turn, const HostName& name, TrialId trial,
                        const std::string& message) {
  HostHealth& health = turn.state.hosts[name];
  ++health.attempt_failures;
  health.trials.insert(trial);
  const int beyond = health.attempt_failures - turn.state.settings.host_failures;
  if (beyond < 0 || health.trials.size() < 2) return;
  SetAsideFor(turn, name, beyond + 1,
              absl::StrCat(health.attempt_failures,
                           " attempts in a row failed there, the last: ", message));
}

void NoteLaunchSuccess(Turn& turn, const HostName& name) {
  const auto found = turn.state.hosts.find(name);
  if (found == turn.state.hosts.end()) return;
  found->second.launch_failures = 0;
  ForgetIfWell(turn.state, name);
}

void NoteAttemptSuccess(Turn& turn, const HostName& name) {
  const auto found = turn.state.hosts.find(name);
  if (found == turn.state.hosts.end()) return;
  found->second.attempt_failures = 0;
  found->second.trials.clear();
  ForgetIfWell(turn.state, name);
}

void On(Turn& turn, const HostLost& event) {
  HostHealth& health = turn.state.hosts[event.host];
  const bool news = health.reachable;
  health.reachable = false;
  health.message = event.message;
  if (!news) return;
  turn.Tell({.kind = HistoryKind::kNote,
             .text = absl::StrCat(Describe(event.host), " cannot be reached: ", event.message)});
}

void On(Turn& turn, const HostFound& event) {
  const auto found = turn.state.hosts.find(event.host);
  if (found == turn.state.hosts.end() || found->second.reachable) return;
  found->second.reachable = true;
  turn.Tell({.kind = HistoryKind::kNote,
             .text = absl::StrCat(Describe(event.host), " can be reached again")});
  ForgetIfWell(turn.state, event.host);
}

}  // namespace trainyard::core
