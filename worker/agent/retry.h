// Pauses that grow and scatter, and trying again until it works.
#pragma once

#include <chrono>
#include <functional>
#include <random>
#include <string_view>

#include "absl/status/status.h"
#include "worker/agent/attempt_control.h"

namespace trainyard::agent {

// Doubles from `first` to `longest`; each pause is drawn from its upper half, so that a thousand
// workers that lost the same coordinator do not come back in the same moment.
class Backoff {
 public:
  Backoff(std::chrono::milliseconds first, std::chrono::milliseconds longest);
  std::chrono::milliseconds Next();
  void Reset() { next_ = first_; }

 private:
  std::chrono::milliseconds first_, longest_, next_;
  std::mt19937_64 random_;
};

// Where trying again may help by itself: the connection, the other side's start, a full disk. A
// refused token too: whether the worker goes on without is for the session to say.
bool MayPass(const absl::Status& status);

// Calls `attempt` until it succeeds, fails with an error that does not pass, or the wish is at
// least `until` (CANCELLED then). Says in the log what it waits for.
absl::Status Persist(AttemptControl& control, Wish until, std::string_view what,
                     const std::function<absl::Status()>& attempt);

}  // namespace trainyard::agent
